"""A folder of CONSILIUM_HOME: images that readers asked about, with the labels that they agreed to or put right.

Only what a reader said counts: an answer that nobody judged, or that was objected to without the right label, teaches
nothing. Images are read where they are kept; header values are not there. Images of one patient are a group, where the
patient was named with the question (a hash of the name is kept); any other image is one by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assistant.errors import ConsiliumError
from assistant.records import Feedback, Records
from instruct_data.items import Asked, Item
from instruct_data.sources.options import Found, Options, made_name, sample_of
from specialists.core.errors import BadData

STORE = "records.db"


def fits(data: Path) -> bool:
    """Tell whether it is such a folder."""
    return data.is_dir() and (data / STORE).is_file() and (data / "images").is_dir()


def read(data: Path, options: Options) -> Found:
    """Return an item for each judged answer about one image; raises BadData."""
    if not fits(data):
        raise BadData(f"No {STORE} with images beside it in {data.name!r}; wanted the folder of CONSILIUM_HOME.")
    items, left_out = [], {}
    try:
        records = Records(data)
        judged = [(records.trace(trace_id), said) for trace_id, said in _latest(records).items()]
        patients = {image["key"]: trace["question"]["patient_sha256"] for trace, _ in judged
                    for image in trace.get("images") or () if trace["question"].get("patient_sha256")}
        for trace, said in judged:
            made = _item(trace, said, data, options, patients)
            if isinstance(made, Item):
                items.append(made)
            else:
                left_out[f"answer {said.trace_id}"] = made
    except ConsiliumError as error:
        raise BadData(f"{data.name!r} cannot be read as a store of conversations ({type(error).__name__}).") from error
    if not items:
        reason = next(iter(left_out.values()), "nobody judged an answer")
        raise BadData(f"No judged answer in {data.name!r} ({reason}); agree with one, or name its right label, first.")
    return Found(tuple(items), data, left_out)


def _latest(records: Records) -> dict[str, Feedback]:
    """Return what was said last of each answer, by whomever."""
    return {said.trace_id: said for said in records.said()}


def _item(trace: Mapping[str, Any], said: Feedback, data: Path, options: Options, patients: Mapping[str, str]
          ) -> Item | str:
    """Return the item of an answer, or why there is none."""
    images = trace.get("images") or ()
    if len(images) != 1:
        return "not about one image"
    key, answer, asked = images[0]["key"], trace["answer"], trace["question"]
    if asked.get("regions"):
        return "about a region that was drawn"
    if not (data / "images" / f"{key}.npz").is_file():
        return "the image is no longer kept"
    right = said.label or (answer["label"] if said.verdict == "agree" else "")
    if not right and said.verdict == "disagree":
        return "objected to without the right label"
    labels = tuple(sorted({str(name) for name in (*(asked.get("options") or ()), right) if name}))
    pair = Asked(asked["text"], right or answer["text"])
    sample = sample_of(data, f"images/{key}.npz", options, id=f"{options.name}/{trace['id']}",
                       group=patients.get(key, key), label=right or None,
                       record={"row": {"array": "pixels", "number": _middle(images[0])}})
    kind = options.kind or ("" if answer.get("kind") in (None, "unknown") else answer["kind"])
    return Item(sample, made_name(sample.id), kind, labels if right and options.diagnoses else (),
                present=(right,) if right and options.diagnoses else (), asked=(pair,))


def _middle(image: Mapping[str, Any]) -> int:
    return int(image.get("frames") or 1) // 2
