"""An edge as it runs: real Envoy, files written by `services.edge`, a fake router and a fake backend."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from apx.clock import ManualClock
from apx.release.model import Manifest
from services.edge.admin import Admin
from services.edge.binary import envoy_command
from services.edge.files import Files
from services.edge.follow import prepare
from services.edge.render import Rendered, render
from services.edge.settings import EdgeSettings
from tests.e2e.edge import tokens
from tests.e2e.edge.fakes import FakeBackend, FakeRouter, LoopThread
from tests.unit.edge.manifests import served

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Reads no certificates: all is plain here, and reading them takes longer than a test."""


class World:
    """One Envoy with its neighbours."""

    def __init__(self, *, spans_to_backend: bool = False, **changes: Any) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="apx-edge-"))
        self.router, self.backend, self.loop = FakeRouter(), FakeBackend(), LoopThread()
        self.loop.run(self.backend.listen())
        if spans_to_backend:
            changes["otlp_endpoint"] = f"http://127.0.0.1:{self.backend.port}"
        self.settings = EdgeSettings(home=self.home, edge_port=free_port(), **changes)
        self.clock = ManualClock()
        self.files = Files(self.settings, self.clock)
        self.backend.jwks = tokens.jwks()
        self.log = (self.home / "envoy.log").open("wb")
        prepare(self.settings)
        self.loop.run(self.router.listen(self.settings.router_path))
        self.start_envoy()

    def start_envoy(self) -> None:
        self.envoy = subprocess.Popen(envoy_command(self.settings), stdout=self.log, stderr=subprocess.STDOUT)
        try:
            until(self._listens, within_s=30)
        except BaseException:
            self.envoy.kill()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.edge_port}"

    @property
    def admin(self) -> Admin:
        return Admin(self.settings.admin_path)

    def publish(self, *products: Manifest | tuple[Manifest, Manifest]) -> Rendered:
        rendered = self.render(products)
        assert self.loop.run(self.files.publish(rendered)), self.said()
        return rendered

    def render(self, products: Sequence[Manifest | tuple[Manifest, Manifest]]) -> Rendered:
        return render(served(*products), self.settings)

    def call(self, method: str, path: str, **parts: Any) -> httpx.Response:
        with httpx.Client(base_url=self.url, timeout=10, trust_env=False, verify=_NO_TLS) as client:
            return client.request(method, path, **parts)

    def said(self) -> str:
        """Return what Envoy wrote: its log and the access log."""
        return (self.home / "envoy.log").read_text()

    def forget(self) -> None:
        self.router.seen.clear()
        self.backend.seen.clear()

    def close(self) -> None:
        self.envoy.kill()
        self.envoy.wait(10)
        self.log.close()
        self.loop.run(self.router.close())
        self.loop.run(self.backend.close())
        self.loop.close()
        shutil.rmtree(self.home)

    def _listens(self) -> bool:
        assert self.envoy.poll() is None, self.said()
        try:
            return self.call("GET", "/healthz").status_code < 500
        except httpx.HTTPError:
            return False


def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Poll until `condition` holds; fail after `within_s`."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold"
        pause.wait(0.02)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
