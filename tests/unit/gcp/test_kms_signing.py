from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import google_crc32c
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.api_core.exceptions import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    Unauthenticated,
)
from google.cloud.kms_v1 import (
    AsymmetricSignRequest,
    AsymmetricSignResponse,
    CryptoKeyVersion,
    GetPublicKeyRequest,
    KeyManagementServiceClient,
    PublicKey,
)

from apx.backends.gcp.connection import CALL_TIMEOUT_S
from apx.backends.gcp.signing import KmsSigner
from apx.errors import Misconfigured, ReleaseRejected, Unavailable
from apx.release.signing import key_id, seal, unseal

VERSION = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
ALGORITHMS = CryptoKeyVersion.CryptoKeyVersionAlgorithm
KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
P256 = generate_private_key(SECP256R1())
KIND = "application/vnd.test"

Fault = Callable[[str], Exception]


class FakeKeys:
    """Cloud KMS with one Ed25519 key, in process. What it answers passes through `spoil_key` or `spoil_signature`."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.spoil_key: Callable[[PublicKey], object] = lambda answer: answer
        self.spoil_signature: Callable[[AsymmetricSignResponse], object] = lambda answer: answer
        self.keys_read = 0

    def get_public_key(self, request: GetPublicKeyRequest, **_: Any) -> PublicKey:
        self._fail()
        self.keys_read += 1
        answer = PublicKey(name=request.name, algorithm=ALGORITHMS.EC_SIGN_ED25519)
        replace_key(answer, KEY)
        self.spoil_key(answer)
        return answer

    def asymmetric_sign(self, request: AsymmetricSignRequest, **_: Any) -> AsymmetricSignResponse:
        self._fail()
        answer = AsymmetricSignResponse(
            name=request.name, verified_data_crc32c=request.data_crc32c == google_crc32c.value(request.data)
        )
        replace_signature(answer, KEY.sign(request.data))
        self.spoil_signature(answer)
        return answer

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault("as it was asked to")


def pem(key: Any) -> str:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).decode()


def replace_key(answer: PublicKey, key: Any) -> None:
    """Put another key into an answer, with the right checksum."""
    replace_pem(answer, pem(key))


def replace_pem(answer: PublicKey, text: str) -> None:
    answer.pem = text
    answer.pem_crc32c = google_crc32c.value(text.encode())


def replace_signature(answer: AsymmetricSignResponse, signature: bytes) -> None:
    answer.signature = signature
    answer.signature_crc32c = google_crc32c.value(signature)


@pytest.fixture
def keys() -> FakeKeys:
    return FakeKeys()


@pytest.fixture
def signer(keys: FakeKeys) -> KmsSigner:
    return KmsSigner(keys, VERSION)


def test_what_it_signs_verifies_as_a_release(signer: KmsSigner) -> None:
    envelope = seal(KIND, b"payload", signer)
    assert unseal(KIND, envelope, {key_id(KEY.public_key()): KEY.public_key()}) == b"payload"


def test_what_it_signs_verifies_with_no_other_key(signer: KmsSigner) -> None:
    with pytest.raises(ReleaseRejected):
        unseal(KIND, seal(KIND, b"payload", signer), {signer.key_id: STRANGER.public_key()})


@pytest.mark.parametrize("message", [b"", b"\0", b"x" * 60_000], ids=["empty", "zero", "long"])
def test_any_message_is_signed(signer: KmsSigner, message: bytes) -> None:
    KEY.public_key().verify(signer.sign(message), message)


def test_the_key_is_named_as_a_local_one_would_be(signer: KmsSigner) -> None:
    assert signer.key_id == key_id(KEY.public_key())


def test_the_public_key_is_asked_for_once(keys: FakeKeys, signer: KmsSigner) -> None:
    for _ in range(3):
        seal(KIND, b"payload", signer)
    assert keys.keys_read == 1


def test_nothing_is_asked_before_it_is_needed(keys: FakeKeys) -> None:
    keys.fault = ServiceUnavailable
    KmsSigner(keys, VERSION)


SPOILED_SIGNATURES: dict[str, tuple[Callable[[AsymmetricSignResponse], object], str]] = {
    "changed on its way": (lambda answer: setattr(answer, "signature", bytes(64)), "does not fit its CRC-32C"),
    "wrong checksum": (lambda answer: setattr(answer, "signature_crc32c", 7), "does not fit its CRC-32C"),
    "no checksum": (lambda answer: setattr(answer, "signature_crc32c", None), "does not fit its CRC-32C"),
    "other version": (lambda answer: setattr(answer, "name", VERSION[:-1] + "2"), "cryptoKeyVersions/2' signed"),
    "no name": (lambda answer: setattr(answer, "name", ""), "'' signed"),
    "not checked": (lambda answer: setattr(answer, "verified_data_crc32c", False), "did not check"),
    "other key": (lambda answer: replace_signature(answer, STRANGER.sign(b"message")), "does not verify"),
    "other message": (lambda answer: replace_signature(answer, KEY.sign(b"massage")), "does not verify"),
    "empty": (lambda answer: replace_signature(answer, b""), "does not verify"),
}


@pytest.mark.parametrize(("spoil", "says"), SPOILED_SIGNATURES.values(), ids=SPOILED_SIGNATURES)
def test_a_signature_that_is_not_whole_and_ours_is_refused(
    keys: FakeKeys, signer: KmsSigner, spoil: Callable[[AsymmetricSignResponse], object], says: str
) -> None:
    keys.spoil_signature = spoil
    with pytest.raises(Unavailable, match=says):
        signer.sign(b"message")


SPOILED_KEYS: dict[str, tuple[Callable[[PublicKey], object], str]] = {
    "changed on its way": (lambda answer: setattr(answer, "pem", pem(STRANGER)), "does not fit its CRC-32C"),
    "no checksum": (lambda answer: setattr(answer, "pem_crc32c", None), "does not fit its CRC-32C"),
    "other version": (lambda answer: setattr(answer, "name", VERSION[:-1] + "2"), "cryptoKeyVersions/2'"),
    "other algorithm": (
        lambda answer: setattr(answer, "algorithm", ALGORITHMS.EC_SIGN_P256_SHA256),
        "EC_SIGN_P256_SHA256: 12>, not EC_SIGN_ED25519",
    ),
    "other curve": (lambda answer: replace_key(answer, P256), "is not an Ed25519 public key"),
    "no key": (lambda answer: replace_pem(answer, "-----"), "no readable public key"),
}


@pytest.mark.parametrize(("spoil", "says"), SPOILED_KEYS.values(), ids=SPOILED_KEYS)
def test_a_public_key_that_is_not_whole_and_ours_is_refused(
    keys: FakeKeys, signer: KmsSigner, spoil: Callable[[PublicKey], object], says: str
) -> None:
    keys.spoil_key = spoil
    with pytest.raises(Unavailable, match=says):
        _ = signer.key_id


def test_a_public_key_that_was_refused_is_asked_for_again(keys: FakeKeys, signer: KmsSigner) -> None:
    keys.fault = ServiceUnavailable
    with pytest.raises(Unavailable):
        _ = signer.key_id
    keys.fault = None
    assert signer.key_id == key_id(KEY.public_key())


@pytest.mark.parametrize("fault", [PermissionDenied, Unauthenticated])
def test_a_refused_identity_is_a_mistake_of_the_settings(keys: FakeKeys, signer: KmsSigner, fault: Fault) -> None:
    keys.fault = fault
    with pytest.raises(Misconfigured, match="refused this process"):
        signer.sign(b"message")


@pytest.mark.parametrize("fault", [NotFound, FailedPrecondition, InvalidArgument])
def test_a_key_that_cannot_sign_is_a_mistake_of_the_settings(keys: FakeKeys, signer: KmsSigner, fault: Fault) -> None:
    keys.fault = fault
    with pytest.raises(Misconfigured, match=r"cryptoKeyVersions/1: [A-Za-z]+: as it was asked to"):
        signer.sign(b"message")


@pytest.mark.parametrize("fault", [ServiceUnavailable, DeadlineExceeded])
def test_a_service_that_does_not_answer_is_unavailable(keys: FakeKeys, signer: KmsSigner, fault: Fault) -> None:
    keys.fault = fault
    with pytest.raises(Unavailable):
        signer.sign(b"message")


def test_a_service_that_hangs_is_unavailable_in_bounded_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = {"api_endpoint": f"127.0.0.1:{silent.getsockname()[1]}", "api_key": "none"}
        start = time.monotonic()
        with KeyManagementServiceClient(client_options=options) as client, pytest.raises(Unavailable):
            KmsSigner(client, VERSION).sign(b"message")
        assert time.monotonic() - start < CALL_TIMEOUT_S + 2.0
