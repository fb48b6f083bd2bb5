"""Decisions in process, beside the same policy in OPA's server."""

from __future__ import annotations

import gc
import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from statistics import median

import httpx

from apx.clock import SystemClock
from apx.local.settings import free_ports
from apx.policy.compile import CompiledPolicy, compile_policy
from apx.policy.evaluate import Evaluator
from apx.policy.opa import Opa
from tests.bench.bench import Bench, NotMeasured
from tests.bench.row import Goal, Row, interleaved, row
from tests.bench.trees import bench_tree

NAMES = ("decision", "decision-bare-client", "decision-memoised")
PACKAGE = "products.orders"
PATH = "/v1/data/products/orders/decision"
HEADERS = {"content-type": "application/json"}
MANY = 20_000
"""Distinct inputs: more than the memo keeps, so that going round never meets one that it holds."""
SAME_BATCH = 1_000


def rows(bench: Bench) -> Iterator[Row]:
    """Measure one policy with the inputs of placed orders."""
    tree = bench_tree(bench.folder / "gitops")
    compiled = compile_policy(Opa.find(), tree / "policies", PACKAGE)
    documents = [document(number) for number in range(MANY)]
    ours = _evaluator(compiled)
    port = _serve_opa(bench)
    questions = [b'{"input":' + document + b"}" for document in documents]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5) as client:
        _agree(ours, documents, lambda question: client.post(PATH, content=question, headers=HEADERS).content)
        bare = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        asked, asked_bare, decided = cycle(questions), cycle(questions), cycle(documents)

        def in_process() -> float:
            return _p50_us(lambda: ours.decide(next(decided)), 2_000 if bench.quick else 10_000)

        def over_httpx() -> float:
            return _p50_us(
                lambda: client.post(PATH, content=next(asked), headers=HEADERS).json(), 200 if bench.quick else 1_000
            )

        def over_http_client() -> float:
            return _p50_us(lambda: _bare(bare, next(asked_bare)), 200 if bench.quick else 1_000)

        sides = {"ours": in_process, "httpx": over_httpx, "bare": over_http_client}
        found = interleaved(sides, bench.rounds)
        bare.close()
    server = (
        "OPA's server: one process for many services, changed over HTTP; it reads and writes HTTP for each decision"
    )
    yield row(
        "decision",
        found["ours"],
        found["httpx"],
        unit="µs",
        peer="OPA REST, httpx",
        goal=Goal(ratio_from=20, at_most=50),
        less_is_better=True,
        note=f"p50, no input asked twice (nothing memoised). {server}, here by one httpx client that keeps its "
        "connection, with --optimize-store-for-read-speed.",
    )
    yield row(
        "decision-bare-client",
        found["ours"],
        found["bare"],
        unit="µs",
        peer="OPA REST, http.client",
        less_is_better=True,
        note="the same by the standard library's http.client, which costs the peer far less than httpx does.",
    )
    same = documents[0]
    ours.decide(same)
    memoised = interleaved({"ours": lambda: _same_us(ours, same)}, bench.rounds)
    yield row(
        "decision-memoised",
        memoised["ours"],
        unit="µs",
        goal=Goal(at_most=3),
        note="the same input again; the policy is pure, so the answer is the same.",
    )
    ours.close()


def document(number: int) -> bytes:
    """Return the input of a placed order; no two numbers give the same."""
    return json.dumps(
        {
            "org": "acme",
            "region": "us",
            "product": "orders",
            "plan": "enterprise",
            "key": {"id": f"key_{number:016x}"},
            "request": {
                "method": "POST",
                "route": "/",
                "path": "/",
                "params": {},
                "query": {},
                "headers": {},
                "client_ip": "198.51.100.7",
            },
            "body": {"item": "lamp", "quantity": 2, "amount_usd": 40 + number / 100},
        },
        separators=(",", ":"),
    ).encode()


def _evaluator(compiled: CompiledPolicy) -> Evaluator:
    return Evaluator(compiled.wasm, compiled.data, pure=compiled.pure, clock=SystemClock())


def _serve_opa(bench: Bench) -> int:
    (port,) = free_ports(1)
    process = bench.start(
        str(Opa.find().binary.absolute()),
        *("run", "--server", "--addr", f"127.0.0.1:{port}", "--log-level", "error", "--disable-telemetry"),
        *("--optimize-store-for-read-speed", "--ignore", "*_test.rego"),
        *("--bundle", str(bench.folder / "gitops" / "policies")),
        log="opa",
    )
    bench.await_port(port, process, "opa")
    return port


def _agree(ours: Evaluator, documents: Sequence[bytes], ask: Callable[[bytes], bytes]) -> None:
    """Make sure that both sides do the same. Raises `NotMeasured`."""
    for document in documents[:20]:
        theirs = json.loads(ask(b'{"input":' + document + b"}"))["result"]
        decision = ours.decide(document)
        if (decision.allow, decision.reason, decision.headers) != (True, theirs["reason"], theirs["headers"]):
            raise NotMeasured(f"APX decides {decision}, OPA {theirs}")


def _bare(client: http.client.HTTPConnection, question: bytes) -> object:
    client.request("POST", PATH, question, HEADERS)
    return json.loads(client.getresponse().read())


def _p50_us(once: Callable[[], object], count: int) -> float:
    clock = time.perf_counter_ns
    times = []
    gc.collect()
    for _ in range(count):
        begun = clock()
        once()
        times.append(clock() - begun)
    return median(times) / 1e3


def _same_us(ours: Evaluator, document: bytes) -> float:
    """Return the p50 of batches: a single one is near the clock's own cost."""
    decide = ours.decide

    def batch() -> None:
        for _ in range(SAME_BATCH):
            decide(document)

    return _p50_us(batch, 50) / SAME_BATCH
