"""The forms in which a dossier leaves: what each is called, and the one file that it makes; it writes none to disk."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydicom import Dataset

from assistant.errors import BadQuestion, CannotExport
from assistant.export import dicom, fhir
from assistant.export.dossier import Dossier, Entry
from assistant.export.markdown import markdown
from assistant.export.pdf import pdf

Headers = Mapping[str, Dataset]
"""Headers of DICOM files at hand, by the hash of their study."""


@dataclass(frozen=True)
class Format:
    """A form: words for people, the end of the file's name, and what makes its content."""

    words: str
    suffix: str
    make: Callable[[Dossier, Headers], bytes]


def _fhir(dossier: Dossier, headers: Headers) -> bytes:
    return (json.dumps(fhir.bundle(dossier), ensure_ascii=False, indent=1) + "\n").encode()


def _segmentation(dossier: Dossier, headers: Headers) -> bytes:
    known = _known(dossier, headers)
    outlined = [entry for entry in known if entry.answer.masks]
    entry = (outlined or known)[-1]
    return dicom.segmentation(entry, headers[_image(entry)])


def _report(dossier: Dossier, headers: Headers) -> bytes:
    image = _image(_known(dossier, headers)[-1])
    return dicom.report([entry for entry in dossier.entries if _image(entry) == image], headers[image])


FORMATS: Mapping[str, Format] = {
    "pdf": Format("PDF report with pictures", ".pdf", lambda dossier, headers: pdf(dossier)),
    "markdown": Format("Markdown", ".md", lambda dossier, headers: markdown(dossier).encode()),
    "fhir": Format("FHIR DiagnosticReport (JSON)", ".fhir.json", _fhir),
    "seg": Format("DICOM segmentation (SEG)", ".seg.dcm", _segmentation),
    "sr": Format("DICOM structured report (SR)", ".sr.dcm", _report),
}


def exported(dossier: Dossier, form: str, headers: Headers | None = None) -> bytes:
    """Return the content of the file; "seg" and "sr" need the header of a DICOM image that was asked about.

    Raises BadQuestion for an unknown form, and CannotExport where there is nothing of this form.
    """
    if form not in FORMATS:
        raise BadQuestion(f"Got the form {form!r}; wanted one of {', '.join(FORMATS)}.")
    with warnings.catch_warnings():  # those of libraries quote header values
        warnings.simplefilter("ignore")
        return FORMATS[form].make(dossier, headers or {})


def file_name(dossier: Dossier, form: str) -> str:
    """Return a name for the file, of plain letters of the title."""
    plain = re.sub(r"[^a-z0-9]+", "-", dossier.title.casefold()).strip("-")[:40].strip("-")
    return f"consilium-{plain or 'report'}{FORMATS[form].suffix}"


def _image(entry: Entry) -> str:
    return str(entry.images[0].get("sha256", "")) if entry.images else ""


def _known(dossier: Dossier, headers: Headers) -> list[Entry]:
    """Return the entries about an image whose DICOM header is at hand, oldest first; raises CannotExport for none."""
    known = [entry for entry in dossier.entries if _image(entry) in headers]
    if known:
        return known
    asked = [image.get("format") for entry in dossier.entries for image in entry.images[:1]]
    if "dicom" not in asked:
        raise CannotExport("Only what was asked about a DICOM image can be exported as DICOM; this conversation is "
                           f"about {', '.join(sorted({str(one) for one in asked})) or 'no image'}. Export the PDF.")
    raise CannotExport("The header of the DICOM file is not kept. Add the same file again, then export.")
