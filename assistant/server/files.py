"""The routes of uploaded files: images of any format that is read, DICOM and NIfTI first of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile

from assistant.server.asked import Unsupported
from assistant.server.service import Service, owner
from assistant.server.store import Uploaded, object_of

MOST = 10_000
"""Files of one list."""


def routes(service: Service) -> APIRouter:
    """Return the routes; each sees the files of the request's own key alone."""
    router = APIRouter(prefix="/v1/files")

    @router.post("")
    def add(request: Request, file: Annotated[UploadFile, File()], purpose: Annotated[str, Form()] = "user_data"
            ) -> dict[str, Any]:
        kept = service.store.add(owner(request), file.filename or "image", purpose, file.file.read())
        return object_of(kept)

    @router.get("")
    def listed(request: Request, limit: Annotated[int, Query(ge=1, le=MOST)] = MOST, purpose: str | None = None,
               after: str | None = None, order: Literal["asc", "desc"] = "desc") -> dict[str, Any]:
        kept = service.store.files(owner(request))
        left = _after(kept if order == "desc" else kept[::-1], after)
        left = [one for one in left if purpose in (None, one.purpose)]
        found = [object_of(one) for one in left[:limit]]
        return {"object": "list", "data": found, "has_more": len(left) > limit,
                "first_id": found[0]["id"] if found else None, "last_id": found[-1]["id"] if found else None}

    @router.get("/{identifier}")
    def about(identifier: str, request: Request) -> dict[str, Any]:
        return object_of(service.store.file(owner(request), identifier))

    @router.get("/{identifier}/content", response_model=None)
    def content(identifier: str, request: Request) -> Response:
        return Response(service.store.content(owner(request), identifier), media_type="application/octet-stream")

    @router.delete("/{identifier}")
    def remove(identifier: str, request: Request) -> dict[str, Any]:
        service.store.remove(owner(request), identifier)
        return {"id": identifier, "object": "file", "deleted": True}

    return router


def _after(kept: Sequence[Uploaded], identifier: str | None) -> list[Uploaded]:
    """Return the files that come after one of them; raises Unsupported where it is not there."""
    if identifier is None:
        return list(kept)
    for place, one in enumerate(kept, 1):
        if one.id == identifier:
            return list(kept[place:])
    raise Unsupported("after", f"No file {identifier[:80]!r} to list those after; wanted the last_id of a list.")
