"""What went wrong, as OpenAI's error objects with their HTTP status; it raises nothing and logs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from assistant.errors import BadQuestion, ConsiliumError, GeneralistError, NotFound
from specialists.core.errors import BadStudy, SpecialistsError, UnknownSpecialist

KNOWN = (RequestValidationError, StarletteHTTPException, ConsiliumError, SpecialistsError, TimeoutError)
"""Faults that are told as they are; any other is ours, and its reason stays in the log."""
CODES = {404: "not_found", 405: "method_not_allowed", 408: "request_timeout", 413: "request_too_large"}
CLIENT_LEFT = 499
"""The status of a request whose client is gone: nobody reads it, but logs and figures do."""


class Ending(HTTPException):
    """The server is told to stop and its time is over: the client may ask again, here or elsewhere."""

    def __init__(self) -> None:
        super().__init__(503, "The server is ending; ask again.", {"Retry-After": "5"})


class UnknownModel(NotFound):
    """The request names a model that is not served."""


class Busy(HTTPException):
    """There is no room for the request now; the client is told when to come again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(429, message, {"Retry-After": str(max(1, retry_after_s))})


def error(message: str, type: str = "invalid_request_error", param: str | None = None,
          code: str | None = None) -> dict[str, Any]:
    """Return an error in OpenAI's shape."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def invalid(errors: Sequence[Mapping[str, Any]], body: Any = None) -> dict[str, Any]:
    """Return the error for a body that is not JSON or not a request: the first fault and its place.

    Where a value may be of several types, each type has its own fault; told is that of the type that fits furthest.
    """
    if errors[0]["type"] == "json_invalid":
        detail = errors[0].get("ctx", {}).get("error", "not JSON")
        return error(f"The body is not JSON: {detail}.", code="invalid_json")
    places = [_place(one, body) for one in errors]
    if not places[0]:
        return error("The body is not a JSON object of content type application/json.", code="invalid_json")
    same = [number for number, place in enumerate(places) if place[:len(places[0])] == places[0]]
    told = max(same, key=lambda number: len(places[number]))
    place = ".".join(places[told])
    return error(f"{place}: {errors[told]['msg'].removeprefix('Value error, ')}.", param=place)


def _place(fault: Mapping[str, Any], body: Any) -> tuple[str, ...]:
    """Return where in the body a fault is: pydantic names types on the way, which are no steps into the body."""
    kind, *steps = fault["loc"]
    if kind != "body":
        return tuple(map(str, steps))
    at, place = body, list[str]()
    for number, step in enumerate(steps, 1):
        if (isinstance(at, Mapping) and step in at) or (isinstance(at, list) and step in range(len(at))):
            at = at[step]
            place.append(str(step))
        elif number == len(steps) and fault["type"] == "missing":
            place.append(str(step))
    return tuple(place)


def fault(raised: Exception) -> tuple[int, dict[str, Any], Mapping[str, str]]:
    """Return status, body and headers: the client's fault is 4xx, the generalist's 502, ours 500, no time left 504."""
    match raised:
        case RequestValidationError():
            return 400, invalid(raised.errors(), raised.body), {}
        case Busy():
            return 429, error(raised.detail, "rate_limit_error", code="rate_limit_exceeded"), raised.headers or {}
        case Ending():
            return 503, error(raised.detail, "server_error", code="server_ending"), raised.headers or {}
        case StarletteHTTPException(status_code=status):
            return status, error(raised.detail, code=CODES.get(status)), raised.headers or {}
        case TimeoutError():
            return 504, error("The answer took too long and was given up; ask again, or ask less.", "server_error",
                              code="timeout"), {}
        case GeneralistError():
            return 502, error(str(raised), "server_error", code=type(raised).__name__), {}
        case UnknownModel():
            return 404, error(str(raised), param="model", code="model_not_found"), {}
        case NotFound():
            return 404, error(str(raised), code=type(raised).__name__), {}
        case BadQuestion() | BadStudy() | UnknownSpecialist():
            param = getattr(raised, "param", "messages" if isinstance(raised, BadStudy) else None)
            return 400, error(str(raised), param=param, code=type(raised).__name__), {}
        case ConsiliumError() | SpecialistsError():
            return 500, error(str(raised), "server_error", code=type(raised).__name__), {}
        case _:
            return 500, error("The server failed; its log has the place.", "server_error"), {}
