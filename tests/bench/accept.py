"""The accept path: a durable 202 through edge and router, beside its floor and beside FastAPI with Celery."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Sequence
from typing import Literal

from apx.local.platform import Platform
from tests.bench.bench import Bench, NotMeasured
from tests.bench.celery_api import KEY, start_api, start_store
from tests.bench.edge_to_nothing import serve_nothing
from tests.bench.load import CONNECTIONS, drive, request
from tests.bench.row import Goal, Row, interleaved, row
from tests.bench.side import Side
from tests.bench.trees import ORDER, bench_tree

NAMES = (
    "accept",
    "accept-not-memoised",
    "accept-crowd",
    "accept-crowd-not-memoised",
    "accept-router-cpu",
    "accept-router-cpu-not-memoised",
    "accept-edge-cpu",
    "accept-store-cpu",
    "accept-celery",
    "accept-celery-crowd",
    "accept-celery-everysec",
)
CROWD = 256
"""Connections: as many requests as a router has room for at once."""
MANY = 20_000
"""Distinct bodies: more than the memo keeps."""
OURS = "APX: key, policy with the body, limit, receipt, one synced write, a log line; no worker runs."
FLOOR = (
    "Peer: the same Envoy with nothing but a route, over a Unix socket to an ASGI application that reads the request "
    "and answers 202, on the router's own uvicorn settings: no key, no policy, no limit, nothing kept, no log."
)
CELERY = (
    "Peer: no proxy in front; key cached by its hash, bucket in process, a validated body, one apply_async without a "
    "result subscription into the same store ({fsync}); no policy engine, receipt, idempotency, order, fairness or "
    "tracing."
)


def rows(bench: Bench) -> Iterator[Row]:
    """Measure requests a second, over 64 connections and over as many as there is room for."""
    platform = bench.platform("apx", bench_tree(bench.folder / "gitops"), without=("worker", "demo"))
    yield from _beside_nothing(bench, platform)
    yield from _beside_celery(bench, platform)


def _beside_nothing(bench: Bench, platform: Platform) -> Iterator[Row]:
    floor = serve_nothing(bench)
    same, many = orders(platform.keys["acme"], 1), orders(platform.keys["acme"], MANY)
    for port in (platform.settings.edge_port, floor.port):
        check_answer(port, same[0], "202")
    ours_pids = {name: platform.pid(name) for name in ("router", "edge", "valkey")}
    floor_pids = {"router": floor.application_pid, "edge": floor.envoy_pid}

    def sides(connections: int) -> dict[str, Side]:
        found = {
            f"{whose}{how}": Side(bench, port, sent, pids, connections=connections)
            for how, sent in (("", same), ("-many", many))
            for whose, port, pids in (
                ("ours", platform.settings.edge_port, ours_pids),
                ("null", floor.port, floor_pids),
            )
        }
        for side in found.values():
            side.warm_up()
        return found

    few = sides(CONNECTIONS)
    yield from _against_floor("accept", few, bench.rounds)
    yield from _against_floor("accept-crowd", sides(CROWD), bench.rounds, f"Over {CROWD} connections. ")
    yield from _processor_time(few["ours"], few["ours-many"], few["null"])


def _beside_celery(bench: Bench, platform: Platform) -> Iterator[Row]:
    always, everysec = start_store(bench, "always"), start_store(bench, "everysec", "everysec")
    sent, theirs = orders(platform.keys["acme"], MANY), orders(KEY, MANY)
    port, how = _faster(bench, {way: start_api(bench, always, way) for way in ("thread", "direct")}, theirs)
    ours_port, other_port = platform.settings.edge_port, start_api(bench, everysec, how)
    beside = {
        "ours": Side(bench, ours_port, sent, {}),
        "always": Side(bench, port, theirs, {}),
        "ours-crowd": Side(bench, ours_port, sent, {}, connections=CROWD),
        "crowd": Side(bench, port, theirs, {}, connections=CROWD),
        "everysec": Side(bench, other_port, theirs, {}),
    }
    found = interleaved({name: side.rate for name, side in beside.items()}, bench.rounds)
    note = f"{OURS} Not memoised. {CELERY.format(fsync='appendfsync always')} apply_async: {how}, the faster here."
    for name, ours, peer, over in (
        ("accept-celery", "ours", "always", ""),
        ("accept-celery-crowd", "ours-crowd", "crowd", f"Over {CROWD} connections. "),
    ):
        yield row(
            name,
            found[ours],
            found[peer],
            unit="req/s",
            peer="FastAPI + Celery",
            goal=Goal(ratio_from=8),
            note=over + note,
        )
    yield row(
        "accept-celery-everysec",
        found["ours"],
        found["everysec"],
        unit="req/s",
        peer="FastAPI + Celery",
        note="as above, but the peer's store syncs once a second: its 202 may be lost with the power, APX's not.",
    )


def orders(key: str, count: int) -> list[bytes]:
    """Return requests that place orders, each with another amount."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    bodies = [ORDER] if count == 1 else [ORDER.replace(b"40", b"%d.%02d" % divmod(4000 + n, 100)) for n in range(count)]
    return [request("POST", "/orders/", headers, body) for body in bodies]


def check_answer(port: int, sent: bytes, status: str) -> None:
    """Send one request; make sure of its answer's status. Raises `NotMeasured`."""
    head, _, body = sent.partition(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, target, body or None, dict(field.split(": ", 1) for field in fields))
        answer = connection.getresponse()
        said = answer.read(500)
    finally:
        connection.close()
    if str(answer.status) != status:
        raise NotMeasured(f"{method} {target} answers {answer.status}: {said!r}")


def _against_floor(name: str, sides: dict[str, Side], rounds: int, over: str = "") -> Iterator[Row]:
    found = interleaved({whose: side.rate for whose, side in sides.items()}, rounds)
    for row_name, how, goal, note in (
        (name, "", 0.65, "The same request again: decisions memoised."),
        (f"{name}-not-memoised", "-many", 0.5, f"{MANY:,} bodies in turn: none memoised."),
    ):
        yield row(
            row_name,
            found[f"ours{how}"],
            found[f"null{how}"],
            unit="req/s",
            peer="Envoy → null ASGI",
            goal=Goal(ratio_from=goal),
            note=f"{over}{note} {OURS} {FLOOR}",
        )


def _processor_time(ours: Side, ours_many: Side, null: Side) -> Iterator[Row]:
    note = "processor time a request, which other work on the machine changes less than requests a second."
    for name, side, process, peer in (
        ("accept-router-cpu", ours, "router", "null ASGI"),
        ("accept-router-cpu-not-memoised", ours_many, "router", "null ASGI"),
        ("accept-edge-cpu", ours, "edge", "bare Envoy"),
    ):
        yield row(
            name, side.cpu_us(process), null.cpu_us(process), unit="µs", peer=peer, less_is_better=True, note=note
        )
    yield row("accept-store-cpu", ours.cpu_us("valkey"), unit="µs", note=f"{note} The peer has no store.")


def _faster(
    bench: Bench, ports: dict[Literal["thread", "direct"], int], sent: Sequence[bytes]
) -> tuple[int, Literal["thread", "direct"]]:
    """Return the way of calling Celery that does more here, so that the peer is at its best."""
    rates = {}
    for how, port in ports.items():
        check_answer(port, sent[0], "202")
        rates[how] = drive(port, sent, seconds=1.0 if bench.quick else 2.0, folder=bench.folder).rate
        bench.say(f"FastAPI + Celery, apply_async {how}: {rates[how]:.0f} req/s")
    best = max(rates, key=lambda how: rates[how])
    return ports[best], best
