"""A dossier as Markdown: words and tables, no pictures.

What people and models wrote becomes neither markup nor link.
"""

from __future__ import annotations

import html
import re

from assistant.export.blocks import Block, Heading, Paragraph, Picture, Table, blocks
from assistant.export.dossier import Dossier

_SIGNS = {ord(sign): f"\\{sign}" for sign in "\\`*_[]~$|#!"}
_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto):|\bwww\.")
_START = re.compile(r"^([^\S\n]*)([-+=]|\d+[.)])(?=[\s=-]|$)", re.MULTILINE)


def markdown(dossier: Dossier) -> str:
    """Return the dossier as a Markdown document."""
    return "\n\n".join(_written(block) for block in blocks(dossier)) + "\n"


def _written(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_one_line(block.text)}"
        case Table():
            rows = [tuple(map(_one_line, row)) for row in (block.head, *block.rows)]
            return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ("---",) * len(block.head), *rows[1:]))
        case Picture():
            return f"*{_one_line(block.caption)}*"
        case Paragraph(kind="question"):
            return "\n".join(f"> {line}" for line in plain(block.text).splitlines())
        case Paragraph(kind="verdict" | "warning"):
            return f"**{_one_line(block.text)}**"
        case Paragraph(kind="small"):
            return f"*{_one_line(block.text)}*"
    return plain(block.text)


def plain(text: str) -> str:
    """Return text that Markdown shows letter by letter."""
    inert = html.escape(text, quote=False).translate(_SIGNS)
    unlinked = _ADDRESS.sub(lambda found: f"{found[0][:-1]}&#{ord(found[0][-1])};", inert)
    return _START.sub(lambda found: f"{found[1]}{found[2][:-1]}\\{found[2][-1]}", unlinked)


def _one_line(text: str) -> str:
    return plain(" ".join(text.split()))
