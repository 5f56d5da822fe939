"""What a kind of image is called by its device and the part of the body; it guesses no kind from pixels."""

from __future__ import annotations

DEVICES = {"cr": "X-ray", "dx": "X-ray", "x-ray": "X-ray", "xray": "X-ray", "ct": "CT", "mr": "MRI", "mri": "MRI",
           "us": "ultrasound", "ultrasound": "ultrasound", "mg": "mammogram", "pt": "PET", "pet": "PET"}
KINDS = {("CT", "brain"): "head CT", ("CT", "lung"): "chest CT", ("CT", "thorax"): "chest CT",
         ("MRI", "head"): "brain MRI", ("X-ray", "lung"): "chest X-ray", ("X-ray", "thorax"): "chest X-ray",
         ("mammogram", "breast"): "mammogram"}
"""Kinds that are not named by the part of the body with the device, as triage names them."""
SITES = {"abd": "abdominal", "abdomen": "abdominal", "pelvis": "pelvic", "spine": "spinal", "tspine": "thoracic spine",
         "cspine": "cervical spine", "lspine": "lumbar spine"}


def kind_named(device: str, site: str) -> str:
    """Return e.g. "abdominal CT" for a device (also a DICOM code) and a part of the body; "" for no known device."""
    found = DEVICES.get(device.strip().lower(), "")
    part = site.strip().lower()
    if not found or not part:
        return found
    return KINDS.get((found, part)) or f"{SITES.get(part, part)} {found}"
