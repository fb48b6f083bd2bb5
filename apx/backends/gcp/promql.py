"""Asking Cloud Monitoring in PromQL, over HTTP: its clients for Python do not speak it.

The API is Prometheus's (https://prometheus.io/docs/prometheus/latest/querying/api/), behind
https://cloud.google.com/stackdriver/docs/managed-prometheus/query-api-ui#http-api-details.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from http import HTTPStatus
from typing import Literal

import aiohttp
import msgspec

from apx.backends.gcp.connection import unavailable
from apx.backends.gcp.identity import Identity
from apx.errors import Misconfigured, Unavailable

API = "https://monitoring.googleapis.com"
ANSWER_TIMEOUT_S = 7.0
"""Longest wait for a whole answer, the token's renewal included: thirty days take seconds."""
MOST_ANSWER_BYTES = 64 * 1024
"""What is asked for is a few numbers."""
_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_DOING = "asking Cloud Monitoring"


class Sample(msgspec.Struct, frozen=True):
    """One number of a vector, finite."""

    labels: dict[str, str]
    value: float


class _Series(msgspec.Struct, frozen=True):
    metric: dict[str, str]
    value: tuple[float, str]
    """Seconds since the epoch, and the number as text: it may be `NaN` or `+Inf`."""


class _Vector(msgspec.Struct, frozen=True, rename="camel"):
    result_type: Literal["vector"]
    result: list[_Series]


class _Answer(msgspec.Struct, frozen=True):
    status: Literal["success"]
    data: _Vector
    warnings: list[str] = []
    """Said beside a result that is not whole, or not what it seems."""


class _GoogleError(msgspec.Struct, frozen=True):
    message: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    error: str | _GoogleError
    """Prometheus says a text, Google's front end an object."""


_answer = msgspec.json.Decoder(_Answer).decode
_refusal = msgspec.json.Decoder(_Refusal).decode


class PromQl:
    """Instant queries over a project's metrics.

    One try each, within `ANSWER_TIMEOUT_S` and `MOST_ANSWER_BYTES`. Whatever is not a whole, well-formed vector of
    finite numbers without a warning raises `Unavailable`: errors and redirects (which are not followed: a token is for
    Google alone), pages of a proxy, answers that are cut off, do not end or were not understood. `Misconfigured` where
    Google refuses this process.
    """

    def __init__(self, session: aiohttp.ClientSession, identity: Identity, project: str, *, api: str = API) -> None:
        """Ask `api`, Google's or (in tests) another one."""
        self._session = session
        self._identity = identity
        self._url = f"{api}/v1/projects/{project}/location/global/prometheus/api/v1/query"
        self.timeout_s = ANSWER_TIMEOUT_S

    async def ask(self, query: str) -> list[Sample]:
        """Return what an expression is now; an empty list where no series fits."""
        with unavailable(_DOING), _broken_off():
            async with asyncio.timeout(self.timeout_s):
                headers = await self._identity.headers("POST", self._url)
                async with self._session.post(
                    self._url, data={"query": query}, headers=headers, allow_redirects=False
                ) as response:
                    body = await _body(response)
        if response.status != HTTPStatus.OK:
            raise _refused(response, body)
        return _vector(body)


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open the connections for `PromQl`; a body is taken as it comes, for a small one may unpack to a large one."""
    async with aiohttp.ClientSession(
        auto_decompress=False,
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # `PromQl` bounds the whole
    ) as session:
        yield session


@contextmanager
def _broken_off() -> Iterator[None]:
    """Turn what aiohttp raises, beside `OSError`, into `Unavailable`."""
    try:
        yield
    except TimeoutError as error:
        raise Unavailable(f"{_DOING}: no whole answer in time") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise Unavailable(f"{_DOING}: {type(error).__name__}: {_short(str(error))}") from error


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MOST_ANSWER_BYTES:
            response.close()
            raise Unavailable(f"{_DOING}: its answer is over {MOST_ANSWER_BYTES} bytes")
    return bytes(body)


def _refused(response: aiohttp.ClientResponse, body: bytes) -> Misconfigured | Unavailable:
    said = f"a body of {response.content_type}"
    with suppress(msgspec.MsgspecError):
        error = _refusal(body).error
        said = error if isinstance(error, str) else error.message
    text = f"{_DOING}: it answered {response.status}: {_short(said)}"
    return Misconfigured(text) if response.status in _REFUSED else Unavailable(text)


def _vector(body: bytes) -> list[Sample]:
    try:
        answer = _answer(body)
        samples = [Sample(series.metric, float(series.value[1])) for series in answer.data.result]
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unavailable(f"{_DOING}: its answer is no vector: {_short(str(error))}") from error
    if answer.warnings:
        raise Unavailable(f"{_DOING}: its answer may not be whole: {_short('; '.join(answer.warnings))}")
    if not all(math.isfinite(sample.value) for sample in samples):
        raise Unavailable(f"{_DOING}: its answer holds what is no number")
    return samples


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
