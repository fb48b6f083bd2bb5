"""Counts in Valkey: a hash for each second of a product, and one for each minute. The `CountStore` port.

`apx:counts:s:<second>:<product>` and `apx:counts:m:<minute>:<product>` map a (release, org) to its counts;
`apx:counts:writers` has the time of each process's last write. One script writes them all, by the server's clock.
A pair is packed (msgpack) and not joined, so that no name can be taken for another.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter

import msgspec
from valkey.asyncio import Valkey

from apx.backends.valkey.connection import Script, unavailable
from apx.rollout.counts import MOST_PAIRS, PLAIN, By, Counted, Counts, CountStore
from apx.rollout.spans import MINUTE_S, MINUTES_KEPT_S, SECONDS_KEPT_S, closed, span

SECOND_TTL_S = SECONDS_KEPT_S + 2 * MINUTE_S
MINUTE_TTL_S = MINUTES_KEPT_S + 10 * MINUTE_S
WRITER_TTL_S = 60
PIECE = 250
"""Most pairs in one call of the script, which holds the server for 1 to 3 ms."""
MOST_KEPT_PAIRS = 50_000
"""Pairs in the sums that are kept; some 50 MB."""
_PAGE = 8
_WRITERS = "apx:counts:writers"
_SHA256 = re.compile("sha256:([0-9a-f]{64})")

_pack = msgspec.msgpack.Encoder().encode
_plain = attrgetter(*PLAIN)
_flat = msgspec.msgpack.Decoder(list[int]).decode

Sums = dict[bytes, Counts]
"""Packed (release, org) → counts."""


class ValkeyCounts(CountStore):
    """Writes are adds on the server; reads add up here.

    Nothing is kept but sums of minutes that have been over for 5 s: they do not change, and whoever watches a rollout
    asks for the same ones each second.
    """

    def __init__(self, client: Valkey) -> None:
        self._client = client
        self._add = Script(client, "counts")
        self._kept: OrderedDict[tuple[str, int], tuple[int, Sums]] = OrderedDict()

    async def write(self, process: str, counts: Mapping[str, Mapping[By, Counts]]) -> None:
        """Add what a process has seen since its last write: one round trip for each `PIECE` of it."""
        for piece in _pieces(counts):
            await self._add(process, MOST_PAIRS, SECOND_TTL_S, MINUTE_TTL_S, WRITER_TTL_S, *piece)

    async def leave(self, process: str) -> None:
        """Forget a writer."""
        with unavailable("leaving the counts"):
            await self._client.zrem(_WRITERS, process)

    async def read(self, product: str, since_ms: int, until_ms: int | None = None) -> Counted:
        """Return what was counted of a product."""
        now_ms, writers = await self._now()
        wanted = span(since_ms, until_ms, now_ms)
        settled = max(wanted.minutes.start, min(wanted.minutes.stop, closed(now_ms)))
        sums = await self._settled(product, range(wanted.minutes.start, settled))
        keys = [_minute(product, at) for at in range(settled, wanted.minutes.stop)]
        await self._add_up(sums, keys + [f"apx:counts:s:{second}:{product}" for second in wanted.seconds])
        return Counted(by={_by(pair): counts for pair, counts in sums.items()}, now_ms=now_ms, writers=writers)

    async def _now(self) -> tuple[int, dict[str, int]]:
        with unavailable("reading counts"):
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.time()
                pipe.zrange(_WRITERS, 0, -1, withscores=True)
                (seconds, microseconds), writers = await pipe.execute()
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        recent = {name.decode(): int(at) for name, at in writers if at > now_ms - WRITER_TTL_S * 1000}
        return now_ms, recent

    async def _settled(self, product: str, minutes: range) -> Sums:
        """Return the sums of minutes that are over, for the caller to change."""
        if not minutes:
            return {}
        stop, kept = self._kept.get((product, minutes.start), (minutes.start, {}))
        if stop > minutes.stop:
            stop, kept = minutes.start, {}
        sums = _copy(kept)
        if stop < minutes.stop:
            await self._add_up(sums, [_minute(product, at) for at in range(stop, minutes.stop)])
        self._keep((product, minutes.start), minutes.stop, sums)
        return _copy(sums)

    def _keep(self, key: tuple[str, int], stop: int, sums: Sums) -> None:
        self._kept[key] = (stop, sums)
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(len(one) + 1 for _, one in self._kept.values()) > MOST_KEPT_PAIRS:
            self._kept.popitem(last=False)

    async def _add_up(self, sums: Sums, keys: Sequence[str]) -> None:
        for at in range(0, len(keys), _PAGE):
            with unavailable("reading counts"):
                async with self._client.pipeline(transaction=False) as pipe:
                    for key in keys[at : at + _PAGE]:
                        pipe.hgetall(key)
                    found = await pipe.execute()
            for pairs in found:
                for pair, flat in pairs.items():
                    _add(sums, pair, _flat(flat))
                await asyncio.sleep(0)  # adding up 500 pairs takes a millisecond: others want their turn


def _pieces(counts: Mapping[str, Mapping[By, Counts]]) -> Iterator[list[bytes | str | int]]:
    """Yield the script's arguments, at least once: a write without counts says that its process is there."""
    piece: list[bytes | str | int] = []
    room = PIECE
    for product, by in counts.items():
        pairs = list(by.items())
        while pairs:
            some, pairs = pairs[:room], pairs[room:]
            piece += (product, len(some))
            for (release, org), seen in some:
                piece += (_packed(release), _pack(org), _pack(_flattened(seen)))
            room -= len(some)
            if not room:
                yield piece
                piece, room = [], PIECE
    if piece or not any(counts.values()):
        yield piece


@lru_cache(maxsize=1024)
def _packed(release: str) -> bytes:
    digest = _SHA256.fullmatch(release)
    return _pack(bytes.fromhex(digest[1]) if digest else release)  # half as long; msgpack tells bytes from text


def _by(pair: bytes) -> By:
    release, org = msgspec.msgpack.decode(pair)
    return (f"sha256:{release.hex()}" if isinstance(release, bytes) else release, org)


def _minute(product: str, minute: int) -> str:
    return f"apx:counts:m:{minute}:{product}"


def _flattened(counts: Counts) -> tuple[int, ...]:
    """Return how many plain counters there are, these, then bucket and count of each latency."""
    latency = (number for item in counts.latency.items() for number in item)
    return (len(PLAIN), *_plain(counts), *latency)


def _add(sums: Sums, pair: bytes, flat: list[int]) -> None:
    total = sums.get(pair)
    if total is None:
        total = sums[pair] = Counts(latency={})
    latencies = flat[0] + 1
    # Another version of APX may have stored fewer plain counters, or more than are known here.
    for name, number in zip(PLAIN, flat[1:latencies], strict=False):
        if number:
            setattr(total, name, getattr(total, name) + number)
    for at in range(latencies, len(flat), 2):
        total.latency[flat[at]] = total.latency.get(flat[at], 0) + flat[at + 1]


def _copy(sums: Sums) -> Sums:
    return {pair: msgspec.structs.replace(counts, latency=dict(counts.latency)) for pair, counts in sums.items()}
