"""What a text claims besides the names in it: numbers, places, views, degrees, comparisons, denials.

It knows words, not medicine: each word is brought to one form, so that two wordings of a claim compare equal. Whether a
claim is true is the validator's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

NUMBER_WORDS = {w: str(n) for n, w in enumerate(
    ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
     "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"), 2)} | {
    "couple": "2", "pair": "2", "twice": "2", "dozen": "12", "half": "50%", "quarter": "25%",
    **dict.fromkeys(("several", "multiple", "many", "numerous", "various", "dozens", "few"), "some")}
"""One is not among them: it is mostly a pronoun, and to change it one has to add another number."""

UNITS = {"%": "%", "percent": "%", "per cent": "%", "mm": "mm", "cm": "cm", "ml": "ml", "px": "px", "pixel": "px",
         "pixels": "px", "years": "years", "hu": "hu", "degrees": "degrees"}

PLACES = {"left": "left", "right": "right", "upper": "upper", "top": "upper", "superior": "upper", "lower": "lower",
          "bottom": "lower", "inferior": "lower", "anterior": "anterior", "posterior": "posterior",
          "medial": "medial", "peripheral": "peripheral", "bilateral": "bilateral", "unilateral": "unilateral",
          **dict.fromkeys(("central", "center", "centre", "middle", "centrally", "centered", "centred"), "central")}

LEXICON: Mapping[str, Mapping[str, str]] = {
    "order": {w: w for w in ("first", "second", "third", "fourth", "former", "latter", "earlier", "later")}
    | dict.fromkeys(("previous", "prior"), "earlier"),
    "comparison": {
        **dict.fromkeys(("larger", "bigger", "greater", "wider", "more", "increased", "increase", "grown",
                         "largest", "biggest"), "more"), "worse": "worse",
        **dict.fromkeys(("smaller", "less", "fewer", "narrower", "decreased", "decrease", "shrunk", "smallest"),
                        "less"),
        **dict.fromkeys(("same", "equal", "equally", "identical", "unchanged", "alike"), "same"),
        **dict.fromkeys(("different", "differ", "differs", "unequal"), "different")},
    "degree": {w: w for w in (
        "mild", "moderate", "severe", "slight", "advanced", "acute", "chronic", "minimal", "doubtful",
        "extensive", "small", "large", "tiny", "huge", "diffuse", "massive", "subtle")},
    "doubt": dict.fromkeys(("may", "might", "could", "possibly", "possible", "perhaps", "probably", "probable",
                            "suspected", "questionable", "unlikely", "maybe", "uncertain"), "doubt"),
    "view": {w: w for w in ("axial", "coronal", "sagittal", "frontal", "lateral", "oblique", "transverse", "pa", "ap",
                            "posteroanterior", "anteroposterior", "contrast", "flair")},
    "finding": {
        **{w: w for w in (
            "normal", "healthy", "abnormal", "benign", "malignant", "suspicious", "irregular", "inflamed",
            "inflammation", "bleeding", "ulcerated", "calcified", "necrotic", "necrosis", "enlarged", "infected",
            "infection", "mass", "cystic", "metastatic")},
        **{form: word for word in (
            "tumour", "cancer", "carcinoma", "fracture", "hemorrhage", "haemorrhage", "edema", "effusion", "nodule",
            "cyst", "abscess", "stenosis", "calcification", "opacity", "consolidation", "ulcer", "polyp", "infiltrate",
            "stroke", "aneurysm", "hematoma", "pneumothorax", "pneumonia", "atelectasis", "erosion", "dislocation",
            "melanoma", "scar") for form in (word, word + "s")},
        "tumor": "tumour", "tumors": "tumour", "opacities": "opacity", "metastases": "metastasis",
        "metastasis": "metastasis"},
    "modality": {
        **dict.fromkeys(("mri", "mr"), "mri"), "ct": "ct", "tomography": "ct", "pet": "pet", "oct": "oct",
        **dict.fromkeys(("x-ray", "x-rays", "xray", "radiograph", "radiographs", "radiogram"), "x-ray"),
        **dict.fromkeys(("ultrasound", "sonogram", "sonography", "sonographic"), "ultrasound"),
        **dict.fromkeys(("fundus", "retinal", "ophthalmoscopy"), "fundus"),
        **dict.fromkeys(("dermoscopy", "dermoscopic", "dermatoscopy"), "dermoscopy"),
        **dict.fromkeys(("colonoscopy", "endoscopy", "endoscopic", "colonoscopic"), "endoscopy"),
        **dict.fromkeys(("histology", "histological", "histopathology"), "histology"),
        **dict.fromkeys(("microscopy", "microscopic", "micrograph", "smear"), "microscopy"),
        "mammogram": "mammogram", "mammography": "mammogram"},
}
"""Class of words -> word as written -> the one form that it is compared in."""

SMALL = frozenset({"yes", "no", *PLACES.values(), *(form for name, words in LEXICON.items() if name != "finding"
                                                    for form in words.values())})
"""All forms that are no names."""

DENIAL = re.compile(r"\b(?:no|not|none|never|nothing|neither|nor|nobody|without|cannot|absent|absence|unable|"
                    r"impossible|free (?:of|from)|lacks?|lacking|devoid|invisible|unseen|undetected|ruled out|excluded|"
                    r"unanswerable|beyond|insufficient)\b|n['’]t\b", re.IGNORECASE)
NUMBER = re.compile(r"(?<![\w.])([A-Za-z]*)(\d+(?:[.,]\d+)*)(?:\s*(%|per ?cent|mm|cm|ml|px|pixels?|years|hu|degrees)"
                    r"(?![A-Za-z]))?", re.IGNORECASE)
LETTER = re.compile(r"(?<![\w'’])(?:[B-HJ-Z](?![\w'’-])|(?<=\()[AI](?=\))|(?:option|answer|choice)\s+[AI]\b)")
YES_NO = re.compile(r"\W*(yes|no)\b(?=\s*(?:[,.;:!]|$))", re.IGNORECASE)
IDLE = re.compile(
    r"how (?:large|big|small|many|much|extensive|severe|marked)\b|(?:in )?(?:a|one) (?:sentence|word) or two\b"
    r"|(?:in )?(?:one or two|two|a few|few) (?:short )?(?:sentences|words)\b|\btwo (?:images|pictures)\b"
    r"|\b(?:no|any|once|tell|say) more\b|\b(?:more|most) likely\b|\bpossible to\b|(?<=largest )first\b"
    r"|(?<=image )first\b", re.IGNORECASE)
"""Words of a class that claim nothing where they stand so."""
NO_SIDE = re.compile(r"right (?:diagnosis|option|answer|choice|one|label|letter|that|now|away)\b|(?<=is )right[.,?!;]",
                     re.IGNORECASE)
"""Right for correct."""
CLAUSE = re.compile(r"[.;:!?\n]|,| and | while | whereas | but ")

Claim = tuple[int, str]
"""Where it begins in the text, and its one form."""


def weighty(text: str) -> str:
    """Return the text with phrases blanked that hold words of a class and claim nothing."""
    return IDLE.sub(lambda m: " " * len(m[0]), text)


def numbers(text: str) -> list[Claim]:
    """Return numbers with their units, in digits or words, and vague quantities, in their order."""
    found = [(m.start(), _number(m)) for m in NUMBER.finditer(text)]
    found += [(m.start(), NUMBER_WORDS[m[0].lower()]) for m in _pattern("|".join(NUMBER_WORDS)).finditer(text)]
    return sorted(found)


def places(text: str) -> list[Claim]:
    """Return places; words next to each other are one place, in one order: "upper left" is "left upper"."""
    runs: list[tuple[int, list[str], int]] = []
    for match in _pattern("|".join(PLACES)).finditer(text):
        word = PLACES[match[0].lower()]
        if NO_SIDE.match(text, match.start()):
            continue
        if runs and re.fullmatch(r"[\s/-]*", text[runs[-1][2]:match.start()]):
            runs[-1] = (runs[-1][0], [*runs[-1][1], word], match.end())
        else:
            runs.append((match.start(), [word], match.end()))
    return [(start, " ".join(sorted(words))) for start, words, _ in runs]


def said(text: str, field: str) -> list[Claim]:
    """Return the words of a class of the lexicon, in their order."""
    words = LEXICON[field]
    return [(m.start(), words[m[0].lower()]) for m in _pattern("|".join(words)).finditer(text)]


def denies(text: str) -> bool:
    """Return whether anything is denied in the text."""
    return DENIAL.search(text) is not None


def yes_or_no(text: str) -> str:
    """Return "yes" or "no" where the text begins with it, else ""."""
    found = YES_NO.match(text)
    return found[1].lower() if found else ""


def option_letters(text: str) -> list[str]:
    """Return single capital letters, which name options, sorted; the article and the pronoun are none."""
    return sorted(m[0][-1] for m in LETTER.finditer(text))


def bound(text: str, claims: list[Claim], heads: list[Claim]) -> list[str]:
    """Return for each claim the nearest head (a name) in its clause; "" where the clause has none."""
    breaks = [0, *(m.end() for m in CLAUSE.finditer(text)), len(text) + 1]
    owners = []
    for at, _ in claims:
        low = max(b for b in breaks if b <= at)
        high = min(b for b in breaks if b > at)
        near = [(abs(start - at), name) for start, name in heads if low <= start < high]
        owners.append(min(near)[1] if near else "")
    return owners


def _number(match: re.Match[str]) -> str:
    digits = re.sub(r",(?=\d{3}(?!\d))", "", match[2]).replace(",", ".")
    plain = re.sub(r"\.0+$", "", digits)
    return match[1].lower() + plain + UNITS.get((match[3] or "").lower().replace("percent", "%"), "")


@lru_cache(maxsize=64)
def _pattern(words: str) -> re.Pattern[str]:
    longest = "|".join(sorted(map(re.escape, words.split("|")), key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{longest})(?![\w])", re.IGNORECASE)
