"""Every answer that is no success, as a problem (RFC 9457)."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from apx.errors import ApxError, Retryable

_CODES = {401: "unauthenticated", 404: "not-found", 405: "method-not-allowed"}


class Problem(BaseModel):
    """What went wrong."""

    type: str
    status: int
    code: str
    detail: str


def _described(what: str) -> dict[str, Any]:
    return {"description": what, "model": Problem, "content": {"application/problem+json": {}}}


ANSWERS: dict[int | str, dict[str, Any]] = {
    401: _described("no valid token"),
    403: _described("the token's role is too low"),
    404: _described("there is no such thing"),
    409: _described("somebody else was first, or the state does not allow it"),
    422: _described("the call is not right"),
    429: _described("this caller calls too often; try again after `retry-after` seconds"),
    503: _described("the store does not answer; try again"),
}
"""What every operation may answer besides its own."""


def answer_with_problems(app: FastAPI) -> None:
    """Let each error be answered as a problem."""
    app.add_exception_handler(ApxError, _on_error)
    app.add_exception_handler(StarletteHTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_crash)


def _problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    content = {"type": f"https://apx.dev/problems/{code}", "status": status, "code": code, "detail": detail}
    return JSONResponse(content, status, headers, media_type="application/problem+json")


async def _on_error(_: Request, error: Exception) -> JSONResponse:
    """Operators read the whole message of an error of ours."""
    if not isinstance(error, ApxError):
        raise error
    headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, Retryable) else None
    return _problem(error.status, error.code, str(error), headers)


async def _on_crash(_: Request, __: Exception) -> JSONResponse:
    """Answer for a fault of ours; the server logs it."""
    return _problem(ApxError.status, ApxError.code, ApxError.public)


async def _on_http(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, StarletteHTTPException):
        raise error
    code = _CODES.get(error.status_code, "http")
    return _problem(error.status_code, code, str(error.detail), dict(error.headers or {}))


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:10])
    return _problem(422, "invalid", places)
