"""Load: requests over many connections at once, by `wrk` where it is on PATH, else by the generator in `sockets`."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.bench import sockets
from tests.bench.bench import NotMeasured

CONNECTIONS = 64
_SCRIPT = """
local wanted = {}
for one in io.open(%s, 'rb'):read('*a'):gmatch('([^%%z]+)') do wanted[#wanted + 1] = one end
local at, count = 0, #wanted
request = function()
  at = at %% count + 1
  return wanted[at]
end
done = function(summary)
  local bad = summary.errors
  io.write(string.format('\\n{"requests":%%d,"seconds":%%f,"refused":%%d,"broken":%%d}',
    summary.requests, summary.duration / 1e6, bad.status, bad.connect + bad.read + bad.write + bad.timeout))
end
"""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of requests gave."""

    requests: int
    seconds: float
    refused: int
    """Answers of 400 and above."""
    broken: int
    """Connections that failed, and answers that did not come in time."""

    @property
    def rate(self) -> float:
        """Return answers a second."""
        return self.requests / self.seconds


def generator() -> str:
    """Name what makes the load."""
    return "wrk, one thread" if shutil.which("wrk") else "the bundled raw-socket generator (slower than wrk)"


def request(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Return an HTTP/1.1 request as bytes."""
    fields = {"host": "bench", **headers, **({"content-length": str(len(body))} if body else {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def drive(
    port: int, requests: Sequence[bytes], *, seconds: float, folder: Path, connections: int = CONNECTIONS
) -> Load:
    """Send the requests round and round over so many connections, each answered before the next one is sent on it.

    Raises `NotMeasured` when anything but a success came back.
    """
    wrk = shutil.which("wrk")
    if wrk:
        load = _wrk([wrk, "-t1", f"-c{connections}"], port, requests, seconds, folder)
    else:
        load = _own(port, requests, seconds, connections)
    if load.refused or load.broken or not load.requests:
        said = f"{load.requests} answers, {load.refused} of them refusals, and {load.broken} broken connections"
        raise NotMeasured(f"port {port}: {said}")
    return load


def _wrk(wrk: Sequence[str], port: int, requests: Sequence[bytes], seconds: float, folder: Path) -> Load:
    data, script = folder / "requests.bin", folder / "load.lua"
    data.write_bytes(b"\0".join(requests))
    script.write_text(_SCRIPT % msgspec.json.encode(str(data)).decode(), encoding="utf-8")
    # Whole seconds are all that wrk takes.
    command = [*wrk, "--timeout", "10s", f"-d{max(1, round(seconds))}s"]
    done = subprocess.run(
        [*command, "-s", str(script), f"http://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=False,
    )
    if done.returncode != 0:
        raise NotMeasured(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    return msgspec.json.decode(done.stdout.rpartition("\n")[2], type=Load)


def _own(port: int, requests: Sequence[bytes], seconds: float, connections: int) -> Load:
    begun = time.perf_counter()
    found = sockets.closed_loop(port, requests, connections=connections, seconds=seconds)
    times = found.latencies
    return Load(
        requests=len(times),
        seconds=time.perf_counter() - begun,
        refused=found.failed,
        broken=0,
    )
