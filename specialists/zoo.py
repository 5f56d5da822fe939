"""What ships: each domain, the set it is taught from and the methods that give their opinion on it."""

from __future__ import annotations

from dataclasses import dataclass, field


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
)

OPINIONS: tuple[str, ...] = ("small_cnn", "residual", "hybrid")
"""Methods of a trio, of different architectures."""

EPOCHS: dict[str, int] = {"small_cnn": 40, "residual": 32, "hybrid": 50}
"""How long each method of a trio is trained."""

SEGMENTERS: dict[str, tuple[str, str, str, str]] = {
    "breast_lesion_unet": ("busi_breast_ultrasound", "breast lesion", "breast ultrasound", "breast"),
}
"""NAME -> (set, mask, kind of image, body part); the method is the last word of the name."""

TRIAGE: tuple[str, int, int] = ("small_cnn", 96, 12)
"""Method, side of the input and epochs of the specialist that tells kinds of image, named "triage"."""
