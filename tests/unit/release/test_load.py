from __future__ import annotations

import base64
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from apx.backends.files.releases import FileReleaseStore
from apx.errors import ApxError, NotFound, ReleaseRejected
from apx.release.digest import canonical, digest_of
from apx.release.load import Loader
from apx.release.model import PAYLOAD_TYPE, Blob
from apx.release.signing import LocalSigner, seal, unseal
from tests.unit.release.examples import DATA, SIGNER, TRUSTED, WASM, manifest, stored

STRANGER = LocalSigner(Ed25519PrivateKey.from_private_bytes(b"\7" * 32))


class Shelf(FileReleaseStore):
    """A store in which a test can put anything."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self._planted: dict[str, bytes] = {}

    def plant(self, digest: str, envelope: bytes) -> None:
        self._planted[digest] = envelope

    async def get_release(self, digest: str) -> bytes:
        return self._planted[digest] if digest in self._planted else await super().get_release(digest)

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.removeprefix("sha256:")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def loader(shelf: Shelf) -> Loader:
    return Loader(shelf, TRUSTED)


@pytest.fixture
async def digest(tmp_path: Path) -> str:
    return await stored(tmp_path, manifest())


async def test_a_whole_signed_release_is_loaded(loader: Loader, digest: str) -> None:
    loaded = await loader.load(digest, "orders")
    assert (loaded.digest, loaded.manifest, loaded.wasm, loaded.data) == (digest, manifest(), WASM, DATA)


def _changed(envelope: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = msgspec.json.decode(envelope)
    change(document)
    return msgspec.json.encode(document)


def _payload(document: dict[str, Any]) -> None:
    payload = base64.b64decode(document["payload"]).replace(b"free", b"gold")
    document["payload"] = base64.b64encode(payload).decode()


ENVELOPES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "payload": (_payload, "was changed after it was signed"),
    "signature": (lambda e: e["signatures"][0].update(sig=base64.b64encode(b"\0" * 64).decode()), "was changed"),
    "signature cut short": (lambda e: e["signatures"][0].update(sig="AAAA"), "was changed"),
    "signature that is no base64": (lambda e: e["signatures"][0].update(sig="é!"), "was changed"),
    "key id": (lambda e: e["signatures"][0].update(keyid="0" * 16), "none of these keys is trusted"),
    "payload type": (lambda e: e.update(payloadType="text/plain"), "holds 'text/plain'"),
    "no signature": (lambda e: e.update(signatures=[]), "carries no signature"),
    "signatures left out": (lambda e: e.pop("signatures"), "cannot be read"),
    "payload that is no base64": (lambda e: e.update(payload="é"), "cannot be read"),
    "payload of another JSON type": (lambda e: e.update(payload=1), "cannot be read"),
}


@pytest.mark.parametrize(("change", "reason"), ENVELOPES.values(), ids=ENVELOPES.keys())
async def test_a_changed_envelope_is_rejected(
    shelf: Shelf, loader: Loader, digest: str, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    shelf.plant(digest, _changed(await shelf.get_release(digest), change))
    with pytest.raises(ReleaseRejected, match=reason):
        await loader.load(digest)


@pytest.mark.parametrize("envelope", [b"", b"{}", b"null", b"\xff\xfe", b"[" * 10_000, b'{"payloadType":"\\ud800"}'])
async def test_what_is_no_envelope_is_rejected(shelf: Shelf, loader: Loader, digest: str, envelope: bytes) -> None:
    shelf.plant(digest, envelope)
    with pytest.raises(ReleaseRejected):
        await loader.load(digest)


async def test_a_release_signed_by_a_foreign_key_is_rejected(tmp_path: Path, loader: Loader) -> None:
    digest = await stored(tmp_path, manifest(), signer=STRANGER)
    with pytest.raises(ReleaseRejected, match="none of these keys is trusted"):
        await loader.load(digest)


async def test_a_foreign_key_cannot_take_a_trusted_keys_name(shelf: Shelf, loader: Loader, digest: str) -> None:
    forged = _changed(
        seal(PAYLOAD_TYPE, canonical(manifest()), STRANGER), lambda e: e["signatures"][0].update(keyid=SIGNER.key_id)
    )
    shelf.plant(digest, forged)
    with pytest.raises(ReleaseRejected, match="was changed after it was signed"):
        await loader.load(digest)


async def test_a_good_signature_beside_a_foreign_one_is_enough(shelf: Shelf, loader: Loader, digest: str) -> None:
    foreign = msgspec.json.decode(seal(PAYLOAD_TYPE, canonical(manifest()), STRANGER))["signatures"]
    both = _changed(await shelf.get_release(digest), lambda e: e.update(signatures=foreign + e["signatures"]))
    shelf.plant(digest, both)
    assert (await loader.load(digest)).digest == digest


async def test_with_no_trusted_key_nothing_is_loaded(shelf: Shelf, digest: str) -> None:
    with pytest.raises(ReleaseRejected, match="no key is"):
        await Loader(shelf, {}).load(digest)


async def test_what_was_signed_for_another_purpose_is_rejected(shelf: Shelf, loader: Loader, digest: str) -> None:
    shelf.plant(digest, seal("application/other", canonical(manifest()), SIGNER))
    with pytest.raises(ReleaseRejected, match="application/other"):
        await loader.load(digest)


async def test_the_release_of_another_product_is_rejected(loader: Loader, digest: str) -> None:
    with pytest.raises(ReleaseRejected, match="is a release of 'orders', not of 'payslips'"):
        await loader.load(digest, "payslips")


async def test_another_signed_release_under_the_digest_is_rejected(shelf: Shelf, loader: Loader, digest: str) -> None:
    shelf.plant(digest, seal(PAYLOAD_TYPE, canonical(manifest("payslips")), SIGNER))
    with pytest.raises(ReleaseRejected, match="the envelope holds another release"):
        await loader.load(digest)


async def test_a_signed_document_that_is_no_manifest_is_rejected(shelf: Shelf, loader: Loader) -> None:
    payload = b'{"schema":"apx.dev/release/v9"}'
    shelf.plant(digest_of(payload), seal(PAYLOAD_TYPE, payload, SIGNER))
    with pytest.raises(ReleaseRejected, match="not of this version"):
        await loader.load(digest_of(payload))


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "md5:" + "0" * 64, "../../etc/passwd", "é" * 71],
)
async def test_what_is_no_digest_is_rejected(loader: Loader, digest: str) -> None:
    with pytest.raises(ReleaseRejected, match="is not a digest"):
        await loader.load(digest)


async def test_a_release_that_is_not_there_is_not_found(loader: Loader) -> None:
    with pytest.raises(NotFound):
        await loader.load("sha256:" + "0" * 64)


PARTS: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit at the start": lambda part: bytes([part[0] ^ 1]) + part[1:],
    "a flipped bit at the end": lambda part: part[:-1] + bytes([part[-1] ^ 128]),
    "truncated": lambda part: part[:-1],
    "emptied": lambda _: b"",
    "one byte longer": lambda part: part + b"\0",
    "much longer": lambda part: part + b"\0" * 1_000_000,
    "another of the same length": lambda part: b"x" * len(part),
}


@pytest.mark.parametrize("part", [WASM, DATA], ids=["wasm", "data"])
@pytest.mark.parametrize("damage", PARTS.values(), ids=PARTS.keys())
async def test_a_damaged_part_is_rejected(
    shelf: Shelf, loader: Loader, digest: str, part: bytes, damage: Callable[[bytes], bytes]
) -> None:
    shelf.blob(digest_of(part)).write_bytes(damage(part))
    with pytest.raises(ReleaseRejected, match="signed were"):
        await loader.load(digest)


@pytest.mark.parametrize("part", [WASM, DATA], ids=["wasm", "data"])
async def test_a_missing_part_loads_nothing(shelf: Shelf, loader: Loader, digest: str, part: bytes) -> None:
    shelf.blob(digest_of(part)).unlink()
    with pytest.raises(NotFound):
        await loader.load(digest)


async def test_no_more_than_the_signed_length_and_a_byte_is_read(shelf: Shelf, digest: str) -> None:
    shelf.blob(digest_of(WASM)).write_bytes(WASM * 1000)
    assert len(await shelf.get_blob(digest_of(WASM), len(WASM))) == len(WASM) + 1
    assert digest


@pytest.mark.parametrize("blob", [Blob(digest="../x", size_bytes=1), Blob(digest="sha256:" + "0" * 64, size_bytes=-1),
                                  Blob(digest="sha256:" + "0" * 64, size_bytes=2**40)])  # fmt: skip
async def test_a_signed_part_that_cannot_be_is_rejected(shelf: Shelf, loader: Loader, blob: Blob) -> None:
    made = manifest()
    made = msgspec.structs.replace(made, policy=msgspec.structs.replace(made.policy, wasm=blob))
    digest = digest_of(canonical(made))
    shelf.plant(digest, seal(PAYLOAD_TYPE, canonical(made), SIGNER))
    with pytest.raises(ReleaseRejected, match="is not an acceptable part"):
        await loader.load(digest)


def _mutants(content: bytes, count: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)  # noqa: S311 -- the same mutants in each run
    mutants = []
    for _ in range(count):
        at = chance.randrange(len(content))
        kind = chance.randrange(5)
        if kind == 0:
            mutants.append(content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :])
        elif kind == 1:
            mutants.append(content[:at])
        elif kind == 2:
            mutants.append(content[:at] + bytes([chance.randrange(256)]) + content[at:])
        elif kind == 3:
            mutants.append(content[:at] + content[at + chance.randrange(1, 9) :])
        else:
            other = chance.randrange(len(content))
            mutants.append(content[: min(at, other)] + content[max(at, other) :])
    return mutants


async def test_no_mutant_of_an_envelope_loads_as_anything_but_the_release(
    shelf: Shelf, loader: Loader, digest: str
) -> None:
    whole = await loader.load(digest)
    wrong = 0
    for mutant in _mutants(await shelf.get_release(digest), 600, seed=1):
        shelf.plant(digest, mutant)
        try:
            wrong += await loader.load(digest) != whole
        except ReleaseRejected:
            continue
    assert wrong == 0


async def test_no_mutant_of_a_stored_file_loads_as_anything_but_the_release(
    shelf: Shelf, loader: Loader, digest: str
) -> None:
    whole = await loader.load(digest)
    file = shelf.folder / "releases" / f"{digest.removeprefix('sha256:')}.json"
    wrong = 0
    for mutant in _mutants(file.read_bytes(), 600, seed=2):
        file.write_bytes(mutant)
        try:
            wrong += await loader.load(digest) != whole
        except ReleaseRejected:
            continue
    assert wrong == 0


@pytest.mark.parametrize("part", [WASM, DATA], ids=["wasm", "data"])
async def test_no_mutant_of_a_part_is_loaded(shelf: Shelf, loader: Loader, digest: str, part: bytes) -> None:
    loaded = 0
    for mutant in _mutants(part, 300, seed=3):
        shelf.blob(digest_of(part)).write_bytes(mutant)
        try:
            await loader.load(digest)
        except ApxError:
            continue
        loaded += mutant != part
    assert loaded == 0


def test_an_envelope_gives_back_what_was_sealed() -> None:
    assert unseal(PAYLOAD_TYPE, seal(PAYLOAD_TYPE, b"\0\xff", SIGNER), TRUSTED) == b"\0\xff"


def test_type_and_payload_cannot_trade_bytes() -> None:
    sealed = seal("ab", b"c", SIGNER)
    moved = _changed(sealed, lambda e: e.update(payloadType="a", payload=base64.b64encode(b"bc").decode()))
    with pytest.raises(ReleaseRejected):
        unseal("a", moved, TRUSTED)
