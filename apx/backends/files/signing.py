"""Signing keys in files: a private key that only its owner can read, and a folder of trusted public keys."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from apx.errors import Misconfigured
from apx.release.signing import LocalSigner, key_id


class KeyFolder:
    """`release-signing.pem` (private, mode 0600) and `trusted/<key id>.pem` (public)."""

    def __init__(self, folder: Path) -> None:
        self._private = folder / "release-signing.pem"
        self._trusted = folder / "trusted"

    def ensure(self) -> None:
        """Make a key pair and trust it, if there is none yet. Raises `Misconfigured`."""
        if self._private.exists():
            return
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.trust(key.public_key())  # first: a private key is never there without its public one
        with _misconfigured(self._private):
            try:
                write_secret(self._private, pem)
            except FileExistsError:  # another process was first: its key is the one
                self._file_of(key.public_key()).unlink()

    def trust(self, key: Ed25519PublicKey) -> None:
        """Accept releases signed by this key from now on. Raises `Misconfigured`."""
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        file = self._file_of(key)
        with _misconfigured(file):
            self._trusted.mkdir(parents=True, exist_ok=True)
            draft = file.with_suffix(f".{os.urandom(4).hex()}")
            draft.write_bytes(pem)
            draft.replace(file)

    def signer(self) -> LocalSigner:
        """Read the private key. Raises `Misconfigured`."""
        try:
            key = load_pem_private_key(self._private.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Misconfigured(f"{self._private}: no usable Ed25519 private key: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise Misconfigured(f"{self._private}: {type(key).__name__} is not an Ed25519 private key")
        return LocalSigner(key)

    def trusted(self) -> dict[str, Ed25519PublicKey]:
        """Read the trusted keys. Raises `Misconfigured`."""
        return read_trusted(self._trusted)

    def _file_of(self, key: Ed25519PublicKey) -> Path:
        return self._trusted / f"{key_id(key)}.pem"


def read_trusted(folder: Path) -> dict[str, Ed25519PublicKey]:
    """Read a folder of trusted keys; an unreadable one is an error, not a key less. Raises `Misconfigured`."""
    keys = {}
    for path in sorted(folder.glob("*.pem")):
        try:
            key = load_pem_public_key(path.read_bytes())
        except FileNotFoundError:  # taken away since it was listed
            continue
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise Misconfigured(f"{path}: no usable Ed25519 public key: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise Misconfigured(f"{path}: {type(key).__name__} is not an Ed25519 public key")
        keys[key_id(key)] = key
    return keys


def write_secret(path: Path, content: bytes) -> None:
    """Create a file that only its owner can read, whole or not at all. Raises `FileExistsError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def ensure_secret(path: Path, size_bytes: int = 32) -> bytes:
    """Return a random secret kept in a file, made on first use; two processes agree on one. Raises `Misconfigured`."""
    with _misconfigured(path):
        if not path.exists():
            with contextlib.suppress(FileExistsError):
                write_secret(path, os.urandom(size_bytes))
    return read_secret(path, size_bytes)


def read_secret(path: Path, size_bytes: int = 32) -> bytes:
    """Return a secret that is kept in a file. Raises `Misconfigured`."""
    with _misconfigured(path):
        secret = path.read_bytes()
    if len(secret) < size_bytes:
        raise Misconfigured(f"{path}: a secret has {size_bytes} bytes, this has {len(secret)}: remove the file")
    return secret


@contextlib.contextmanager
def _misconfigured(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror or error}: keys cannot be kept here") from error
