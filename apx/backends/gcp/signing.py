"""Signing with a key in Cloud KMS that never leaves it: the `Signer` of `apx.release.signing`.

The key version is of the algorithm EC_SIGN_ED25519 (PureEdDSA: KMS gets the message, not its hash). What is sent and
what comes back carries a CRC-32C, and is refused when it does not fit.
Source: cloud.google.com/kms/docs/data-integrity-guidelines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Protocol, TypedDict, TypeVar

import google_crc32c
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.api_core.exceptions import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServiceUnavailable,
)
from google.api_core.retry import Retry, if_exception_type
from google.cloud.kms_v1 import (
    AsymmetricSignRequest,
    AsymmetricSignResponse,
    CryptoKeyVersion,
    GetPublicKeyRequest,
    KeyManagementServiceClient,
    PublicKey,
)

from apx.backends.gcp.connection import CALL_TIMEOUT_S, unavailable
from apx.errors import Misconfigured, Unavailable
from apx.release.signing import key_id

_ED25519 = CryptoKeyVersion.CryptoKeyVersionAlgorithm.EC_SIGN_ED25519
_AGAIN = if_exception_type(ServiceUnavailable, DeadlineExceeded)


class _Bounds(TypedDict):
    retry: Retry
    timeout: float


# A try that begins in the first half of the call ends within the whole.
_BOUNDS = _Bounds(retry=Retry(_AGAIN, initial=0.1, maximum=1.0, timeout=CALL_TIMEOUT_S / 2), timeout=CALL_TIMEOUT_S / 2)
_UNUSABLE = (NotFound, InvalidArgument, FailedPrecondition)

T = TypeVar("T")


class Keys(Protocol):
    """What of `KeyManagementServiceClient` is used."""

    def get_public_key(self, request: GetPublicKeyRequest, *, retry: Retry, timeout: float) -> PublicKey:
        """Return the public half of a key version."""
        ...

    def asymmetric_sign(
        self, request: AsymmetricSignRequest, *, retry: Retry, timeout: float
    ) -> AsymmetricSignResponse:
        """Sign with a key version."""
        ...


class KmsSigner:
    """One key version. Each call blocks for `CALL_TIMEOUT_S` at most.

    Raises `Unavailable` when KMS does not answer or its answer is not whole and ours, and `Misconfigured` when it
    refuses this identity or the key version cannot sign.
    """

    def __init__(self, keys: Keys, key_version: str) -> None:
        """Sign with `key_version`: projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/…."""
        self._keys = keys
        self._version = key_version

    @property
    def key_id(self) -> str:
        """Name of the key, computed from its public half."""
        return key_id(self.public_key)

    @cached_property
    def public_key(self) -> Ed25519PublicKey:
        """The public half, asked for once."""
        request = GetPublicKeyRequest(name=self._version)
        answer = self._call("reading the public key of", lambda: self._keys.get_public_key(request, **_BOUNDS))
        self._check(answer.name == self._version, f"it is the key of {answer.name!r}")
        self._check(_fits(answer.pem.encode(), answer.pem_crc32c), "the key does not fit its CRC-32C")
        self._check(answer.algorithm == _ED25519, f"it is for {answer.algorithm!r}, not EC_SIGN_ED25519")
        try:
            key = load_pem_public_key(answer.pem.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Unavailable(f"{self._version}: no readable public key: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise Unavailable(f"{self._version}: {type(key).__name__} is not an Ed25519 public key")
        return key

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature (64 bytes) of `message`, which has verified here too."""
        request = AsymmetricSignRequest(name=self._version, data=message, data_crc32c=google_crc32c.value(message))
        answer = self._call("signing with", lambda: self._keys.asymmetric_sign(request, **_BOUNDS))
        self._check(answer.name == self._version, f"{answer.name!r} signed")
        self._check(answer.verified_data_crc32c, "KMS did not check what it was sent")
        self._check(_fits(answer.signature, answer.signature_crc32c), "the signature does not fit its CRC-32C")
        try:
            self.public_key.verify(answer.signature, message)
        except InvalidSignature as error:
            raise Unavailable(f"{self._version}: the signature does not verify with this key version") from error
        return answer.signature

    def _call(self, doing: str, call: Callable[[], T]) -> T:
        what = f"{doing} {self._version}"
        try:
            with unavailable(what):
                return call()
        except _UNUSABLE as error:
            raise Misconfigured(f"{what}: {type(error).__name__}: {error.message[:200]}") from error

    def _check(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 -- reads as an assertion
        if not holds:
            raise Unavailable(f"{self._version}: {otherwise}")


def open_signer(key_version: str) -> KmsSigner:
    """Sign by this process's own identity; nothing is asked yet. Raises `Misconfigured` without one."""
    with unavailable(f"opening {key_version}"):
        return KmsSigner(KeyManagementServiceClient(), key_version)


def _fits(content: bytes, stated: object) -> bool:
    """Tell whether a CRC-32C was stated (proto-plus hands an `Int64Value` out as an int, or None) and is right."""
    return stated is not None and stated == google_crc32c.value(content)
