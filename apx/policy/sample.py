"""Recorded inputs of decisions: what one is, how it is written as a line, and how lines of any origin are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

import msgspec
import orjson
from msgspec import Meta

from apx.policy.decision import Decision
from apx.policy.masking import mask_input

MOST_INPUT_BYTES = 32_768
"""A longer input, masked, is not recorded."""
MOST_LINE_BYTES = 65_536
MOST_SAMPLES = 10_000
"""Of one product."""

Short = Annotated[str, Meta(max_length=1_024)]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One decision as it was made. The field names are those of the file (docs/decision-impact.md)."""

    at_ms: Annotated[int, Meta(ge=0, le=1 << 48)]
    """When it was decided, in milliseconds since the epoch."""
    product: Short
    release: Short
    """Digest of the release that decided."""
    org: Short
    route: Short
    method: Short
    allow: bool
    reason: Short
    body_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] | None = None
    """Size of the body before it was masked; None where the policy was shown none."""
    input: msgspec.Raw
    """The input document, masked."""


class ShownRequest(msgspec.Struct, frozen=True):
    """What replay needs of `input.request`."""

    method: str
    route: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]


class Shown(msgspec.Struct, frozen=True):
    """What replay needs of an input document."""

    org: str
    plan: str
    request: ShownRequest
    claims: msgspec.Raw = msgspec.Raw()
    """Empty where the input has none; so is `body`."""
    body: msgspec.Raw = msgspec.Raw()


class Samples(msgspec.Struct, frozen=True):
    """Samples that were read, and how many lines were passed over because they are none."""

    samples: list[Sample]
    passed_over: int = 0


_decode_line = msgspec.json.Decoder(Sample).decode
_decode_shown = msgspec.json.Decoder(Shown).decode


def sample_of(at_ms: int, product: str, release: str, input_json: bytes, decision: Decision) -> Sample | None:
    """Return what is kept of a decision, masked; None where it is too long, or not to be read."""
    try:
        shown = _decode_shown(input_json)
        masked = mask_input(input_json)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if len(masked) > MOST_INPUT_BYTES:
        return None
    return Sample(
        at_ms=at_ms,
        product=product,
        release=release,
        org=shown.org,
        route=shown.request.route,
        method=shown.request.method,
        allow=decision.allow,
        reason=decision.reason,
        body_bytes=len(bytes(shown.body)) or None,
        input=msgspec.Raw(masked),
    )


def line_of(sample: Sample) -> bytes:
    """Write a sample as a line of JSON."""
    return msgspec.json.encode(sample) + b"\n"


def shown(sample: Sample) -> Shown:
    """Read a sample's input. Raises `msgspec.MsgspecError`, never for a sample that `read_samples` returned."""
    return _decode_shown(sample.input)


def read_samples(lines: Iterable[bytes]) -> Samples:
    """Read lines, whatever they hold: those that are not a whole sample are counted and passed over."""
    samples, passed_over = [], 0
    for line in lines:
        if not line.strip():
            continue
        sample = _read(line)
        if sample is None:
            passed_over += 1
        else:
            samples.append(sample)
    return Samples(samples, passed_over)


def spread(samples: Iterable[Sample], most: int = MOST_SAMPLES, most_bytes: int | None = None) -> list[Sample]:
    """Keep the newest of each kind (org, route, method, answer), the kinds in turn, until there are enough."""
    newest = sorted(samples, key=lambda sample: sample.at_ms, reverse=True)
    seen: Counter[tuple[object, ...]] = Counter()
    turns = []
    for sample in newest:
        kind = (sample.org, sample.route, sample.method, sample.allow, sample.reason)
        turns.append(seen[kind])
        seen[kind] += 1
    order = sorted(range(len(newest)), key=turns.__getitem__)[:most]
    if most_bytes is not None:
        order = _within(order, [len(line_of(newest[at])) for at in range(len(newest))], most_bytes)
    return [newest[at] for at in sorted(order)]


def _within(order: list[int], sizes: list[int], most_bytes: int) -> list[int]:
    kept, taken = [], 0
    for at in order:
        taken += sizes[at]
        if taken > most_bytes:
            break
        kept.append(at)
    return kept


def _read(line: bytes) -> Sample | None:
    if len(line) > MOST_LINE_BYTES:
        return None
    try:
        sample = _decode_line(line)
        document = bytes(sample.input)
        orjson.loads(document)  # what the decision itself asks for first
        _decode_shown(document)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    # A Raw holds on to the whole line: a copy lets it go.
    return msgspec.structs.replace(sample, input=msgspec.Raw(document))
