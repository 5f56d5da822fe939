"""Which kind of image a set holds, for triage; mixed sets have no kind."""

from __future__ import annotations

KIND_OF: dict[str, str] = {
    "bccd_blood_cells": "blood smear",
    "brain_tumor_mri": "brain MRI",
    "busi_breast_ultrasound": "breast ultrasound",
    "chase_db1_vessels": "fundus photograph",
    "cohen_covid_cxr": "chest X-ray",
    "covid_hannover_cxr": "chest X-ray",
    "drishti_gs_disc_cup": "fundus photograph",
    "dsb2018_nuclei": "cell nuclei microscopy",
    "ham10000_dermoscopy": "dermoscopy",
    "head_ct_hemorrhage": "head CT",
    "kermany_chest_xray": "paediatric chest X-ray",
    "knee_oa_xray": "knee X-ray",
    "kvasir_seg_polyp": "colonoscopy",
    "lc25000_lung_histology": "lung histology",
    "msd_hippocampus_mri3d": "hippocampus MRI",
    "nih_chestxray8_subset": "chest X-ray",
    "odir_fundus": "fundus photograph",
    "siim_ct_contrast": "chest CT",
}
"""Sets that triage is taught from and may ship. White cells are cropped from the blood smears' own boxes."""

HELD_OUT: dict[str, str] = {
    "dental_caries_panoramic": "dental panoramic X-ray",
    "foot_ulcer_wound": "clinical photograph of a wound",
    "wbc_segmentation": "single white cell",
}
"""Sets whose licenses keep them out of what ships: measured only."""

WHITE_CELL = "single white cell"

KINDS: tuple[str, ...] = tuple(sorted({*KIND_OF.values(), WHITE_CELL}))
"""The kinds that triage can name."""
