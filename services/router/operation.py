"""An accepted request as its client sees it: a long-running operation in the shape of AIP-151."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from apx.requests.model import Progress, Result
from services.router import replies
from services.router.asgi import Reply

_GONE = {
    "cancelled": (410, "request-cancelled", "The request was cancelled."),
    "expired": (504, "request-expired", "The request's deadline passed before it could run."),
}


def location(request_id: str) -> str:
    """Return where an accepted request is found."""
    return f"/v1/requests/{request_id}"


def pending(request_id: str, product: str, release: str, accepted_ms: int, progress: Progress) -> dict[str, Any]:
    """Return the document of a request that has no result yet."""
    return {
        "id": request_id,
        "state": progress.state,
        "done": False,
        "product": product,
        "release": release,
        "times": _times(accepted=accepted_ms, started=progress.started_ms),
    }


def finished(result: Result) -> dict[str, Any]:
    """Return the document of a request that has one; where the backend answered, `response` says with what."""
    document: dict[str, Any] = {
        "id": result.id,
        "state": result.state,
        "done": True,
        "product": result.product,
        "release": result.release,
        "times": _times(accepted=result.accepted_ms, started=result.started_ms, finished=result.finished_ms),
    }
    if result.error is not None:
        document["error"] = {"code": result.error.code, "detail": result.error.detail}
    if result.status is not None:
        document["response"] = {
            "status": result.status,
            "size_bytes": result.body_bytes,
            "location": f"{location(result.id)}/result",
        }
    return document


def gone(request_id: str) -> Reply:
    """Answer for a request whose result is no longer kept."""
    return replies.problem(410, "request-gone", "The request's result is no longer kept.", request_id)


def without_answer(result: Result, request_id: str, headers: replies.Headers) -> Reply:
    """Answer for the result of a request that has no answer of its backend."""
    status, code, detail = _GONE.get(result.state, (502, "backend-failed", "The backend did not answer."))
    if result.error is not None:
        code, detail = result.error.code, result.error.detail
    return replies.problem(status, code, detail, request_id, headers)


def _times(**moments_ms: int | None) -> dict[str, str]:
    return {name: _rfc3339(ms) for name, ms in moments_ms.items() if ms is not None}


def _rfc3339(ms: int) -> str:
    second, millisecond = divmod(ms, 1000)
    return f"{_second(second)}.{millisecond:03d}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
