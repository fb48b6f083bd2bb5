"""Logs: JSON lines on standard output, each with a stable event name, none with a credential.

    configure("router", "info")
    canonical("request", status=202, product="orders", duration_ms=1.2)      # one for each request: about 5 µs
    structlog.get_logger().warning("release-refused", product="orders")      # everything else

Every line has `time`, `severity`, `event` and `process` (the names that Cloud Logging knows). The standard library's
loggers (asyncio, granian, uvicorn, aiohttp) come out as `event: "log"`, uncaught exceptions as `uncaught-exception`
without local variables. `apx.telemetry.redaction` guards every line.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import PurePath
from types import TracebackType
from typing import Any

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

from apx.errors import Misconfigured
from apx.telemetry.lines import LineWriter
from apx.telemetry.redaction import clean, forbidden, mask

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
MAX_LINE_BYTES = 32_768
_MAX_TEXT = 512
_LARGEST = (1 << 63) - 1
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
_ACCESS_LOGS = ("uvicorn.access", "granian.access", "aiohttp.access")
_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "_granian", "granian", "aiohttp", "asyncio", *_ACCESS_LOGS)

_traceback = ExceptionDictTransformer(show_locals=False, max_frames=20, use_rich=False)


class _Output:
    """Where this process's lines go."""

    writer: LineWriter | None = None
    process = ""
    level = logging.INFO


def configure(process: str, level: str, *, fd: int = 1) -> None:
    """Send every log of this process to `fd` as JSON lines. Raises `Misconfigured` for an unknown level."""
    if level not in LEVELS:
        raise Misconfigured(f"log level {level!r} is none of {', '.join(LEVELS)}")
    close()
    writer = LineWriter(fd)
    _Output.writer, _Output.process, _Output.level = writer, process, LEVELS[level]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: _Lines(writer),
        cache_logger_on_first_use=False,
    )
    _route_stdlib(LEVELS[level])
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    atexit.register(close)


def close() -> None:
    """Write the lines so far, for at most a second, and stop; called when the process exits."""
    atexit.unregister(close)
    if _Output.writer is not None:
        _Output.writer.close()
        _Output.writer = None


def canonical(event: str, /, **fields: Any) -> None:
    """Write the one line of a request. Never raises or blocks; does nothing before `configure`."""
    writer = _Output.writer
    if writer is not None and _Output.level <= logging.INFO:
        writer.write(encode(event, "INFO", fields))


def flush(timeout_s: float = 1.0) -> bool:
    """Wait until the lines so far are written; False when that takes longer."""
    return _Output.writer is None or _Output.writer.flush(timeout_s)


def encode(event: str, severity: str, fields: Mapping[str, Any]) -> bytes:
    """Return one guarded JSON line. Never raises: what JSON cannot hold is named, not shown."""
    record = {"time": datetime.now(UTC), "severity": severity, "event": event, "process": _Output.process}
    try:
        fields = clean(fields)
        line = orjson.dumps({**record, **fields}, _named, _OPTIONS)
        if len(line) > MAX_LINE_BYTES:
            line = orjson.dumps({**record, **_shortened(fields)}, _named, _OPTIONS)
    except Exception as error:  # noqa: BLE001  # a log line must not fail a request, whatever a value's type does
        told = {"event": _text(event), "unloggable": type(error).__name__}
        line = orjson.dumps({**record, **_shortened(fields), **told}, _named, _OPTIONS)
    return mask(line)


def _named(value: object) -> str:
    if isinstance(value, (PurePath, BaseException)):
        return str(value)
    return f"<{type(value).__name__}>"  # not repr(): it may show what its fields may not


def _shortened(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of each field what surely fits: text to a length, numbers to 64 bits; nothing nested."""
    named = ((_text(name), value) for name, value in list(fields.items())[:40] if not forbidden(name))
    plain = {name: value for name, value in named if type(value) in (str, int, float, bool)}
    return {name: _text(v) if isinstance(v, str) or abs(v) > _LARGEST else v for name, v in plain.items()} | {
        "shortened": True
    }


def _text(value: object) -> str:
    return str(value)[:_MAX_TEXT].encode("utf-8", "replace").decode()


class _Lines:
    """What structlog takes for the logger below it."""

    def __init__(self, writer: LineWriter) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.msg = writer.write


def _render(_: object, method: str, fields: MutableMapping[str, Any]) -> bytes:
    event = str(fields.pop("event", ""))
    info = fields.pop("exc_info", None)
    if info:
        fields["exception"] = _described(info)
    return encode(event, method.upper(), fields)


def _described(info: object) -> object:
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    elif not isinstance(info, tuple):
        info = sys.exc_info()
    return _traceback(info) if info[0] else None


class _StdlibHandler(logging.Handler):
    """Turns a standard library record into a line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; like every line it never raises."""
        if _Output.writer is None:
            return
        fields: dict[str, Any] = {"logger": record.name, "message": _message(record)}
        if record.exc_info:
            fields["exception"] = _described(record.exc_info)
        _Output.writer.write(encode("log", record.levelname, fields))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)


def _route_stdlib(level: int) -> None:
    logging.basicConfig(handlers=[_StdlibHandler()], level=max(level, logging.INFO), force=True)
    for name in _OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _ACCESS_LOGS:  # they show queries; the canonical line stands for them
        logging.getLogger(name).setLevel(logging.WARNING)


def _uncaught(kind: type[BaseException], error: BaseException | None, at: TracebackType | None) -> None:
    if _Output.writer is None or not issubclass(kind, Exception):
        sys.__excepthook__(kind, error or kind(), at)
        return
    fields = {"exception": _described((kind, error, at)), "thread": threading.current_thread().name}
    _Output.writer.write(encode("uncaught-exception", "CRITICAL", fields))
    flush()
