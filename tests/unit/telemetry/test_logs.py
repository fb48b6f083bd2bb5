import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import threading
import timeit
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from apx.errors import Misconfigured
from apx.telemetry import logs

from .conftest import Sink

REQUEST = {
    "request_id": "req_01HZZZZZZZZZZZZZ",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "method": "POST",
    "path": "/orders/v1/things/123",
    "product": "orders",
    "org": "acme",
    "key_id": "key_abc",
    "release": "sha256:abcd",
    "arm": "stable",
    "decision": "ok",
    "status": 202,
    "duration_ms": 1.23,
    "body_bytes": 123,
}


def test_a_canonical_line_has_time_severity_event_process_and_its_fields(sink: Sink) -> None:
    logs.canonical("request", status=202, product="orders")
    (line,) = sink.lines()
    assert line.pop("time").endswith("Z")
    assert line == {"severity": "INFO", "event": "request", "process": "router", "status": 202, "product": "orders"}


def test_an_event_of_structlog_has_the_same_form(sink: Sink) -> None:
    structlog.get_logger().warning("release-refused", product="orders")
    (line,) = sink.lines()
    assert list(line) == ["time", "severity", "event", "process", "product"]
    assert (line["severity"], line["event"]) == ("WARNING", "release-refused")


def test_an_event_carries_the_bound_context(sink: Sink) -> None:
    with structlog.contextvars.bound_contextvars(product="orders"):
        structlog.get_logger().info("seen")
    assert sink.lines()[0]["product"] == "orders"


def test_events_below_the_level_are_not_written(sink: Sink) -> None:
    structlog.get_logger().debug("detail")
    logging.getLogger("anything").debug("detail")
    assert sink.lines() == []


def test_canonical_lines_are_not_written_above_info(tmp_path: Path, untouched_process: None) -> None:
    del untouched_process
    with (tmp_path / "log").open("wb") as file:
        logs.configure("router", "warning", fd=file.fileno())
        logs.canonical("request")
        assert logs.flush(5.0)
    assert (tmp_path / "log").read_bytes() == b""


def test_canonical_does_nothing_before_configure() -> None:
    logs.canonical("request", status=202)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(Misconfigured, match="log level 'loud' is none of debug, info"):
        logs.configure("router", "loud")


@pytest.mark.parametrize("name", ["asyncio", "granian", "uvicorn.error", "aiohttp.client", "anything.else"])
def test_the_standard_librarys_records_come_out_as_json(sink: Sink, name: str) -> None:
    logging.getLogger(name).warning("took %d s", 3)
    (line,) = sink.lines()
    assert (line["event"], line["logger"], line["message"]) == ("log", name, "took 3 s")


def test_a_server_that_installed_its_own_handlers_is_routed_too(untouched_process: None, tmp_path: Path) -> None:
    del untouched_process
    own = logging.StreamHandler()
    logging.getLogger("uvicorn.error").addHandler(own)
    with (tmp_path / "log").open("wb") as file:
        logs.configure("router", "info", fd=file.fileno())
    assert logging.getLogger("uvicorn.error").handlers == []


@pytest.mark.parametrize("name", ["uvicorn.access", "granian.access", "aiohttp.access"])
def test_access_logs_are_off(sink: Sink, name: str) -> None:
    logging.getLogger(name).info("GET /orders?api_key=canary")
    assert sink.lines() == []


def test_a_record_whose_arguments_do_not_fit_is_still_written(sink: Sink) -> None:
    (handler,) = [h for h in logging.getLogger().handlers if type(h).__module__ == logs.__name__]
    handler.handle(logging.LogRecord("broken", logging.WARNING, __file__, 1, "%d", ("one",), None))
    assert sink.lines()[0]["message"] == "%d"


def test_an_exception_is_logged_with_its_frames_and_without_its_locals(sink: Sink) -> None:
    def fail() -> None:
        canary_local = "in-a-local-variable"
        raise ValueError(len(canary_local))

    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("refused")
    (stack,) = sink.lines()[0]["exception"]
    assert [frame["name"] for frame in stack["frames"]][-1] == "fail"
    assert "in-a-local-variable" not in sink.text()


async def test_an_exception_of_a_forgotten_task_is_logged_as_json(sink: Sink) -> None:
    async def fail() -> None:
        raise ValueError("lost")

    task = asyncio.ensure_future(fail())
    with contextlib.suppress(ValueError):
        await asyncio.wait([task])
    asyncio.get_running_loop().call_exception_handler({"message": "lost task", "exception": task.exception()})
    assert sink.lines()[0]["logger"] == "asyncio"


def test_an_exception_of_a_thread_is_logged_as_json(sink: Sink) -> None:
    def fail() -> None:
        raise ValueError("boom")

    thread = threading.Thread(target=fail, name="doomed")
    thread.start()
    thread.join()
    (line,) = sink.lines()
    assert (line["event"], line["severity"]) == ("uncaught-exception", "CRITICAL")


def test_an_uncaught_exception_ends_the_process_with_one_json_line_and_no_secret() -> None:
    program = (
        "from apx.telemetry import logs\n"
        "logs.configure('worker', 'info')\n"
        "def run():\n"
        "    local = 'canary-local'\n"
        "    raise RuntimeError('calling with Bearer canary-bearer')\n"
        "run()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    (line,) = [json.loads(text) for text in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (1, "")
    assert (line["event"], line["process"]) == ("uncaught-exception", "worker")
    assert "canary" not in done.stdout


def test_lines_written_just_before_the_end_of_the_process_are_kept() -> None:
    program = (
        "from apx.telemetry import logs\n"
        "logs.configure('worker', 'info')\n"
        "for n in range(1000): logs.canonical('request', n=n)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert [json.loads(text)["n"] for text in done.stdout.splitlines()] == list(range(1000))


class Opaque:
    def __repr__(self) -> str:
        return "canary-repr"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"canary", "<6 bytes>"),
        (Opaque(), "<Opaque>"),
        (Path("/a/b"), "/a/b"),
        ({"a": {"b": (1, 2)}}, {"a": {"b": [1, 2]}}),
        ({1: "one"}, {"1": "one"}),
        (float("nan"), None),
    ],
)
def test_a_value_is_shown_as_json_can(sink: Sink, value: object, shown: object) -> None:
    logs.canonical("request", value=value)
    assert sink.lines()[0]["value"] == shown


@pytest.mark.parametrize("value", ["\ud800", 1 << 80])
def test_a_value_that_json_cannot_hold_costs_no_line_and_no_request(sink: Sink, value: object) -> None:
    logs.canonical("request", value=value, product="orders")
    (line,) = sink.lines()
    assert (line["event"], line["product"], line["unloggable"]) == ("request", "orders", "TypeError")


def test_a_structure_that_holds_itself_is_cut(sink: Sink) -> None:
    loop: dict[str, object] = {}
    loop["again"] = loop
    logs.canonical("request", loop=loop)
    assert "…" in sink.text()


def test_a_line_never_grows_beyond_its_bound(sink: Sink) -> None:
    logs.canonical("request", path="/" + "x" * 1_000_000, status=404, nested={"deep": "y" * 1_000_000})
    (line,) = sink.lines()
    assert len(sink.text()) < logs.MAX_LINE_BYTES
    assert (line["status"], line["shortened"]) == (404, True)


def test_a_canonical_line_costs_less_than_two_lines_of_the_standard_library() -> None:
    """About 3 µs against 10 for formatting one `logging` record; the margin is for noise."""
    record = logging.LogRecord("request", logging.INFO, __file__, 1, "request %s", (REQUEST,), None)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    peer = best_s(lambda: plain.format(record))
    assert best_s(lambda: logs.encode("request", "INFO", REQUEST)) < 2 * peer


def best_s(call: Callable[[], object]) -> float:
    return min(timeit.repeat(call, number=500, repeat=9))
