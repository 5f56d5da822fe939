"""The exact words of a record's facts: what its answers state of its images, worded alike whatever the kind.

They are counted, as distinct pairs of image and fact; they are never shown to a model.
"""

from __future__ import annotations

from instruct_data.items import Item, Region


def kind(item: Item) -> str:
    """Return "kind: brain MRI"."""
    return f"kind: {item.kind}"


def attribute(name: str, value: str) -> str:
    """Return "view: PA": an attribute of the taking of the image."""
    return f"{name}: {value}"


def diagnosis(label: str) -> str:
    """Return "diagnosis: glioma", for a label that holds."""
    return f"diagnosis: {label}"


def diagnoses(item: Item) -> list[str]:
    """Return a fact for each label that holds."""
    return [diagnosis(label) for label in item.present]


def grade(item: Item) -> str:
    """Return "grade: Kellgren-Lawrence grade KL2"; raises ValueError where the item has no grade."""
    if item.grade is None:
        raise ValueError(f"{item.image} has no grade; ask for it only where there is one.")
    return f"grade: {item.grade.scale} {item.grade.levels[item.grade.value]}"


def present(name: str) -> str:
    """Return "present: polyp"."""
    return f"present: {name}"


def absent(name: str) -> str:
    """Return "absent: polyp"."""
    return f"absent: {name}"


def place(region: Region) -> str:
    """Return the name and corners in thousandths, "polyp 120 340 500 600", that other facts are built on."""
    return " ".join([region.name, *(str(round(1000 * v)) for v in region.box)])


def box(region: Region) -> str:
    """Return "box: polyp 120 340 500 600"."""
    return f"box: {place(region)}"


def size(region: Region, words: str) -> str:
    """Return "size: polyp 120 340 500 600: 12 %"."""
    return f"size: {place(region)}: {words}"


def position(region: Region, words: str) -> str:
    """Return "position: polyp 120 340 500 600: upper left"."""
    return f"position: {place(region)}: {words}"


def count(name: str, number: int) -> str:
    """Return "count: red blood cell 14"."""
    return f"count: {name} {number}"


def asked(question: str) -> str:
    """Return "asked: ...": a question answered by people."""
    return f"asked: {' '.join(question.split())}"


def compare(other: Item, what: str, answer: str) -> str:
    """Return "compare: <image of the other> <what>: <answer>"."""
    return f"compare: {other.image} {what}: {answer}"


def unanswerable(question: str) -> str:
    """Return "unanswerable: ..."."""
    return f"unanswerable: {question}"
