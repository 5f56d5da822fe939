"""Pictures of what was found, as markdown images that any client shows; it finds nothing itself."""

from __future__ import annotations

import base64
import io

from PIL import Image

from assistant.steps import Answer
from assistant.template import SHOWN_SIDE, shown
from specialists.core.findings import Boxes, Enhanced, HeatMap, Instances, Masks, Volumes, draw_boxes
from specialists.core.study import Study

QUALITY = 80
"""Of the JPEG: an overlay of 448 pixels has about 30 kB."""


def markdown(answer: Answer, study: Study) -> str:
    """Return an image a finding that has a place in the picture, parted by empty lines; "" where none has."""
    drawn = []
    for finding in answer.findings:
        if isinstance(finding, Volumes) and finding.frame is not None:
            drawn.append((finding.specialist, finding.overlay(study.image(finding.frame))))
        elif isinstance(finding, HeatMap | Enhanced | Masks | Instances | Boxes) and _seen(finding):
            drawn.append((finding.specialist, finding.overlay(study.image())))
    if answer.boxes and not drawn:
        drawn.append(("the generalist", draw_boxes(study.image(), answer.boxes)))
    return "".join(f"\n\n![Found by {name}]({_url(picture)})" for name, picture in drawn)


def _seen(finding: HeatMap | Enhanced | Masks | Instances | Boxes) -> bool:
    if isinstance(finding, HeatMap | Enhanced):
        return True
    return bool(finding.boxes if isinstance(finding, Boxes) else finding.boxes())


def _url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    shown(picture.convert("RGB"), SHOWN_SIDE).save(buffer, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
