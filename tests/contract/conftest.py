"""The adapters under contract: each port in process and on a real store."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from google.cloud.firestore import AsyncClient, Client
from google.cloud.storage import Bucket
from valkey.asyncio import Valkey

from apx.backends.gcp import emulators, firestore, pubsub
from apx.backends.gcp.bus import JournaledBus
from apx.backends.gcp.documents import Documents
from apx.backends.gcp.journal import Journal
from apx.backends.gcp.objects import open_bucket
from apx.backends.gcp.results import JournaledResults
from apx.backends.gcp.usage import PubSubUsage
from apx.backends.memory.bus import MemoryBus
from apx.backends.memory.results import MemoryResults
from apx.backends.valkey.bus import ValkeyBus
from apx.backends.valkey.connection import connect
from apx.backends.valkey.results import ValkeyResults
from apx.backends.valkey.server import server_command
from apx.backends.valkey.usage import ValkeyUsage
from apx.clock import SystemClock
from apx.requests.ports import Bus, ResultStore
from apx.usage.events import UsageLog

LEASE_S = 0.4


class Server:
    """A real server on a Unix socket."""

    def __init__(self, folder: Path, appendfsync: str = "always") -> None:
        self.folder = folder
        self.socket = folder / "s.sock"
        self._appendfsync = appendfsync
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        command = server_command(self.folder, self.socket, appendfsync=self._appendfsync)  # type: ignore[arg-type]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 10
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError((self.folder / "log").read_text())
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="apx-") as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may stop and kill."""
    with tempfile.TemporaryDirectory(prefix="apx-") as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.kill()


class Emulator:
    """One of Google's services on this machine, in memory, found through the environment by Google's clients."""

    def __init__(self, command: list[str], log: Path, port: int) -> None:
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out)
        end = time.monotonic() + 60
        while not _listens(port):
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(log.read_text())
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _emulated(name: str, command: Callable[[int], list[str]], address: str) -> Iterator[Emulator]:
    """Start an emulator, and let the clients that are made meanwhile find it."""
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="apx-") as folder, pytest.MonkeyPatch.context() as environment:
        emulator = Emulator(command(port), Path(folder) / "log", port)
        environment.setenv(name, address.format(port))
        yield emulator
        emulator.stop()


@pytest.fixture(scope="session")
def firestore_emulator() -> Iterator[None]:
    with _emulated(emulators.FIRESTORE, emulators.firestore_command, "127.0.0.1:{}"):
        client = Client(project="warm")
        client.document("first/write").set({}, timeout=60)  # a cold one takes longer than a call may
        client._firestore_api.transport.close()  # noqa: SLF001 -- its own `close` leaves the channel open
        yield


@pytest.fixture(scope="session")
def pubsub_emulator() -> Iterator[None]:
    with _emulated(emulators.PUBSUB, emulators.pubsub_command, "127.0.0.1:{}"):
        yield


@pytest.fixture(scope="session")
def storage_emulator() -> Iterator[None]:
    with _emulated(emulators.STORAGE, emulators.storage_command, "http://127.0.0.1:{}"):
        yield


@pytest.fixture
def bucket(storage_emulator: None) -> Iterator[Bucket]:  # noqa: ARG001 -- started for it
    with _fresh_bucket() as opened:
        yield opened


class OwnStorage(msgspec.Struct, frozen=True):
    """A storage that the test may stop, and a bucket in it."""

    emulator: Emulator
    bucket: Bucket


@pytest.fixture
def own_storage() -> Iterator[OwnStorage]:
    started = _emulated(emulators.STORAGE, emulators.storage_command, "http://127.0.0.1:{}")
    with started as emulator, _fresh_bucket() as opened:
        yield OwnStorage(emulator, opened)


@contextmanager
def _fresh_bucket() -> Iterator[Bucket]:
    opened = open_bucket("apx-test", f"apx-{os.urandom(8).hex()}")
    opened.create()
    yield opened
    opened.client.close()


def kept(bucket: Bucket) -> list[str]:
    """Name what is in a bucket."""
    return [blob.name for blob in bucket.list_blobs()]


@pytest.fixture
async def valkey(shared_server: Server) -> AsyncIterator[Valkey]:
    client = connect(shared_server.url)
    await client.flushall()
    yield client
    await client.aclose()


class Ports(msgspec.Struct, frozen=True):
    bus: Bus
    results: ResultStore
    another: Callable[[], Bus]
    """Another process's bus on the same store."""
    usage: UsageLog
    told: UsageLog
    """The same events as another reader sees them."""


@asynccontextmanager
async def valkey_ports(client: Valkey) -> AsyncIterator[Ports]:
    opened: list[ValkeyBus] = []

    def another() -> ValkeyBus:
        opened.append(ValkeyBus(client, lease_s=LEASE_S, idle_s=0.05))
        return opened[-1]

    results = ValkeyResults(client)
    yield Ports(
        bus=another(), results=results, another=another, usage=ValkeyUsage(client), told=ValkeyUsage(client, "webhooks")
    )
    await results.aclose()
    for bus in opened:
        await bus.aclose()


class Google(msgspec.Struct, frozen=True):
    """Pub/Sub, Firestore and lanes that may be lost, in a project of their own."""

    project: str
    lanes: ValkeyBus
    journal: Journal
    documents: Documents
    results: JournaledResults
    usage: PubSubUsage
    told: PubSubUsage
    another: Callable[[], JournaledBus]


@asynccontextmanager
async def on_google(client: Valkey, *, recovery_s: float = 0.0) -> AsyncIterator[Google]:
    project, opened = f"apx-{secrets.token_hex(6)}", list[JournaledBus]()
    store = firestore.connect(project, "apx")
    documents = Documents(store, SystemClock())
    async with pubsub.connect("here") as clients:
        journal = Journal(clients, project, "here")
        for product in ("orders", "other", "tickets", "apx-webhooks"):
            await journal.create(product)
        usage = PubSubUsage(clients, project, "here")
        told = PubSubUsage(clients, project, "here", "webhooks")
        for reader in (usage, told):
            await reader.create()
        lanes = ValkeyBus(client, journaled=True, recovery_s=recovery_s)
        results = JournaledResults(ValkeyResults(client, journaled=True), documents)

        def another() -> JournaledBus:
            lanes = ValkeyBus(client, lease_s=LEASE_S, idle_s=0.05, journaled=True, recovery_s=recovery_s)
            opened.append(JournaledBus(lanes, journal, documents, results, usage, look_every_s=0.05))
            return opened[-1]

        yield Google(project, lanes, journal, documents, results, usage, told, another)
        await results.aclose()
        for bus in opened:
            await bus.aclose()
        await lanes.aclose()
        await firestore.close(store)


@asynccontextmanager
async def google_ports(client: Valkey) -> AsyncIterator[Ports]:
    async with on_google(client) as google:
        yield Ports(
            bus=google.another(),
            results=google.results,
            another=google.another,
            usage=google.usage,
            told=google.told,
        )


@pytest.fixture(params=["memory", "valkey", "google"])
async def ports(request: pytest.FixtureRequest) -> AsyncIterator[Ports]:
    if request.param == "memory":
        results = MemoryResults(SystemClock())
        bus = MemoryBus(results, SystemClock(), lease_s=LEASE_S, idle_s=0.05)
        yield Ports(bus=bus, results=results, another=lambda: bus, usage=bus.usage, told=bus.usage.reader("webhooks"))
        return
    if request.param == "google":
        for emulator in ("firestore_emulator", "pubsub_emulator"):
            request.getfixturevalue(emulator)
    opened_on = valkey_ports if request.param == "valkey" else google_ports
    async with connected(request.getfixturevalue("shared_server")) as client:
        await client.flushall()
        async with opened_on(client) as opened:
            yield opened


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Valkey]:
    client = connect(server.url)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
def bus(ports: Ports) -> Bus:
    return ports.bus


@pytest.fixture
def results(ports: Ports) -> ResultStore:
    return ports.results


@asynccontextmanager
async def firestore_client(project: str = "") -> AsyncIterator[AsyncClient]:
    """Connect to the emulator that runs; without a `project`, to an empty database."""
    client = firestore.connect(project or f"apx-{uuid.uuid4().hex[:12]}", "(default)")
    try:
        yield client
    finally:
        await firestore.close(client)


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 5.0) -> None:
    """Ask until `condition` holds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not await condition():
        assert loop.time() < end, "it did not come to pass"
        await asyncio.sleep(0.005)
