"""What ships: each domain, the set it is taught from and the methods that give their opinion on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Domain:
    """One diagnosis question: a set with its labels, and the kind of image it is asked about."""

    name: str
    dataset: str
    kind: str
    title: str
    modality: str
    body_part: str
    codes: dict[str, str] = field(default_factory=dict)
    """SNOMED CT codes of labels, where one fits exactly."""
    flip_vertical: bool = False
    """Whether the kind of image has no upper side."""
    ships: bool = True
    """False where the terms of the set keep its weights out of the package: trained and measured all the same."""


DOMAINS: tuple[Domain, ...] = (
    Domain("brain_mri", "brain_tumor_mri", "brain MRI", "Opinion on a brain MRI", "MR", "brain",
           {"glioma": "SNOMED CT 393564001", "meningioma": "SNOMED CT 302820008",
            "pituitary tumour": "SNOMED CT 127024001"}),
    Domain("chest_child_xray", "kermany_chest_xray", "paediatric chest X-ray",
           "Opinion on a child's chest X-ray", "DX", "chest", {
               "bacterial pneumonia": "SNOMED CT 53084003", "viral pneumonia": "SNOMED CT 75570004"}),
    Domain("breast_ultrasound", "busi_breast_ultrasound", "breast ultrasound",
           "Opinion on a breast ultrasound", "US", "breast"),
    Domain("fundus", "odir_fundus", "fundus photograph", "Opinion on a fundus photograph", "OP", "eye",
           {"cataract": "SNOMED CT 193570009", "glaucoma": "SNOMED CT 23986001",
            "age-related macular degeneration": "SNOMED CT 267718000",
            "pathological myopia": "SNOMED CT 32022003"}),
    Domain("skin_lesion", "ham10000_dermoscopy", "dermoscopy", "Opinion on a dermoscopy", "XC", "skin",
           {"melanoma": "SNOMED CT 372244006", "melanocytic nevus": "SNOMED CT 400096001",
            "basal cell carcinoma": "SNOMED CT 254701007"}, flip_vertical=True),
    Domain("knee_xray", "knee_oa_xray", "knee X-ray", "Opinion on a knee X-ray", "DX", "knee"),
    Domain("lung_histology", "lc25000_lung_histology", "lung histology", "Opinion on lung histology", "SM", "lung",
           {"lung adenocarcinoma": "SNOMED CT 254626006", "lung squamous cell carcinoma": "SNOMED CT 254634000"},
           flip_vertical=True),
    Domain("head_ct", "head_ct_hemorrhage", "head CT", "Opinion on a head CT", "CT", "head",
           {"intracranial haemorrhage": "SNOMED CT 1386000"}),
    Domain("chest_xray", "nih_chestxray8_subset", "chest X-ray", "Opinion on an adult's chest X-ray", "DX", "chest",
           {"pneumonia": "SNOMED CT 233604007"}),
    Domain("chest_ct_contrast", "siim_ct_contrast", "chest CT", "Whether a chest CT was taken with contrast", "CT",
           "chest"),
    Domain("white_cell", "wbc_segmentation", "single white cell", "Opinion on a single white cell", "SM", "blood",
           flip_vertical=True, ships=False),
)

OPINIONS: tuple[str, ...] = ("small_cnn", "residual", "hybrid")
"""Methods of a trio, of different architectures."""

EPOCHS: dict[str, int] = {"small_cnn": 40, "residual": 32, "hybrid": 50}
"""How long each method of a trio is trained."""


@dataclass(frozen=True)
class Tool:
    """A specialist that answers alone: where, how many, how far along a scale."""

    name: str
    task: str
    method: str
    dataset: str
    kind: str
    title: str
    modality: str
    body_part: str
    labels: tuple[str, ...]
    """Structures, things, or the name of the scale: as the records name them."""
    config: dict[str, Any] = field(default_factory=dict)
    """What differs from the method's Config."""
    codes: dict[str, str] = field(default_factory=dict)
    ships: bool = True

    @property
    def domain(self) -> str:
        """A tool stands in a domain of its own."""
        return self.name


TOOLS: tuple[Tool, ...] = (
    Tool("breast_lesion_unet", "segmentation", "unet", "busi_breast_ultrasound", "breast ultrasound",
         "Where a breast lesion is", "US", "breast", ("breast lesion",)),
    Tool("polyp_unet", "segmentation", "unet", "kvasir_seg_polyp", "colonoscopy", "Where a polyp is", "ES", "colon",
         ("polyp",), {"flip_vertical": True}, {"polyp": "SNOMED CT 68496003"}),
    Tool("skin_lesion_unet", "segmentation", "unet", "ham10000_dermoscopy", "dermoscopy", "Where a skin lesion is",
         "XC", "skin", ("skin lesion",), {"epochs": 16, "flip_vertical": True},
         {"skin lesion": "SNOMED CT 95324001"}),
    Tool("retinal_vessels_unet", "segmentation", "unet", "chase_db1_vessels", "fundus photograph",
         "Where the retinal vessels run", "OP", "eye", ("retinal vessels",),
         {"size": 384, "batch": 4, "epochs": 120}),
    Tool("disc_cup_unet", "segmentation", "unet", "drishti_gs_disc_cup", "fundus photograph",
         "Where the optic disc and the cup are", "OP", "eye", ("optic disc", "optic cup"),
         {"size": 192, "batch": 8, "epochs": 100}),
    Tool("chest_anatomy_unet", "segmentation", "unet", "cohen_covid_cxr", "chest X-ray",
         "Where lungs, heart and airways are", "DX", "chest",
         ("right lung", "left lung", "cardiomediastinum", "airways"),
         {"size": 160, "batch": 16, "epochs": 110, "mirror": False},
         {"right lung": "SNOMED CT 3341006", "left lung": "SNOMED CT 44029006"}),
    Tool("white_cell_unet", "segmentation", "unet", "wbc_segmentation", "single white cell",
         "Where a white cell and its nucleus are", "SM", "blood", ("white blood cell", "nucleus"),
         {"size": 96, "epochs": 50, "flip_vertical": True}, ships=False),
    Tool("wound_unet", "segmentation", "unet", "foot_ulcer_wound", "clinical photograph of a wound",
         "Where a wound is", "XC", "foot", ("wound",), {"epochs": 40}, ships=False),
    Tool("dr_grade", "grading", "dr_recipe", "odir_fundus", "fundus photograph",
         "How far diabetic retinopathy has gone", "OP", "eye", ("diabetic retinopathy grade",),
         {"size": 224, "epochs": 30, "batch": 16, "learning_rate": 1.5e-3, "augmentation": "usual",
          "flip_vertical": False, "start": "fundus_residual"}, ships=False),
    Tool("knee_grade", "grading", "dr_recipe", "knee_oa_xray", "knee X-ray",
         "How far osteoarthritis of a knee has gone", "DX", "knee", ("Kellgren-Lawrence grade",),
         {"epochs": 40, "batch": 16, "augmentation": "usual", "flip_vertical": False}),
    Tool("blood_cells_centernet", "detection", "centernet", "bccd_blood_cells", "blood smear",
         "Red cells, white cells and platelets, counted", "SM", "blood",
         ("red blood cell", "white blood cell", "platelet"), {"epochs": 56, "flip_vertical": True},
         {"red blood cell": "SNOMED CT 41898006", "white blood cell": "SNOMED CT 52501007",
          "platelet": "SNOMED CT 16378004"}),
    Tool("caries_centernet", "detection", "centernet", "dental_caries_panoramic", "dental panoramic X-ray",
         "Where teeth have caries", "PX", "teeth", ("caries",), {"size": 512, "batch": 4, "epochs": 40}, {},
         ships=False),
    Tool("nuclei_distance_map", "instances", "distance_map", "dsb2018_nuclei", "cell nuclei microscopy",
         "Nuclei, each apart and counted", "SM", "cells", ("nuclei",)),
    Tool("hippocampus_unet3d", "volumetry", "unet3d", "msd_hippocampus_mri3d", "hippocampus MRI",
         "How large the hippocampus is, front and back", "MR", "brain",
         ("anterior hippocampus", "posterior hippocampus")),
)

TRIAGE: tuple[str, int, int] = ("small_cnn", 96, 12)
"""Method, side of the input and epochs of the specialist that tells kinds of image, named "triage"."""
