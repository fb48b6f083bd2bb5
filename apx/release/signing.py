"""Signed envelopes: DSSE v1 with Ed25519.

The signature covers the payload's type and bytes together (pre-authentication encoding), so that what was signed for
one purpose is never taken for another. Source: github.com/secure-systems-lab/dsse, protocol.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from apx.errors import ReleaseRejected


class Signer(Protocol):
    """Holds a private key and never gives it out: a local file here, a key management service elsewhere."""

    @property
    def key_id(self) -> str:
        """Name of the key: see `key_id`."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of `message`. Raises `Unavailable` when the key cannot be reached."""
        ...


class LocalSigner:
    """An Ed25519 key in this process."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.key_id = key_id(key.public_key())

    def sign(self, message: bytes) -> bytes:
        """Sign with the key."""
        return self._key.sign(message)


class _Signature(msgspec.Struct, frozen=True):
    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, rename={"payload_type": "payloadType"}):
    """The JSON form of DSSE: base64 payload, its type, and signatures."""

    payload_type: str
    payload: str
    signatures: tuple[_Signature, ...]


def key_id(key: Ed25519PublicKey) -> str:
    """Name a public key by the first 16 hex digits of the SHA-256 of its raw bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def seal(payload_type: str, payload: bytes, signer: Signer) -> bytes:
    """Return the signed envelope of `payload` as JSON."""
    signature = _Signature(keyid=signer.key_id, sig=_b64(signer.sign(_encode(payload_type, payload))))
    return msgspec.json.encode(Envelope(payload_type=payload_type, payload=_b64(payload), signatures=(signature,)))


def unseal(payload_type: str, envelope: bytes, trusted: Mapping[str, Ed25519PublicKey]) -> bytes:
    """Return the payload of an envelope that one of the `trusted` keys has signed.

    Which keys are trusted, and that a signature is needed at all, comes from the caller, never from the envelope.
    Raises `ReleaseRejected`.
    """
    try:
        sealed = msgspec.json.decode(envelope, type=Envelope)
        payload = base64.b64decode(sealed.payload, validate=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise ReleaseRejected(f"the envelope cannot be read: {error}") from error
    if sealed.payload_type != payload_type:
        raise ReleaseRejected(f"the envelope holds {sealed.payload_type!r}, not {payload_type!r}")
    if not sealed.signatures:
        raise ReleaseRejected("the envelope carries no signature")
    message = _encode(payload_type, payload)
    if not any(_verifies(signature, message, trusted) for signature in sealed.signatures):
        raise ReleaseRejected(_why_untrusted(sealed.signatures, trusted))
    return payload


def holds(envelope: bytes, payload: bytes, signer: str) -> bool:
    """Tell whether an envelope says that it is `payload`, signed by the key `signer`. Nothing is verified."""
    try:
        sealed = msgspec.json.decode(envelope, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return sealed.payload == _b64(payload) and any(one.keyid == signer for one in sealed.signatures)


def _verifies(signature: _Signature, message: bytes, trusted: Mapping[str, Ed25519PublicKey]) -> bool:
    key = trusted.get(signature.keyid)
    if key is None:
        return False
    try:
        key.verify(base64.b64decode(signature.sig, validate=True), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _why_untrusted(signatures: Sequence[_Signature], trusted: Mapping[str, Ed25519PublicKey]) -> str:
    if any(signature.keyid in trusted for signature in signatures):
        return "the signature does not fit the content: the release was changed after it was signed"
    keys = ", ".join(sorted(signature.keyid[:32] for signature in signatures[:3]))
    return f"signed by {keys}, and none of these keys is trusted here ({', '.join(sorted(trusted)) or 'no key is'})"


def _encode(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()
