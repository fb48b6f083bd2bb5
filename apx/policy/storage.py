"""A folder of derived files that only this user may have written."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from apx.errors import Misconfigured


class PrivateFolder:
    """Files by name, written whole or not at all, each with a SHA-256 in front that finds truncation and bit flips.

    Native code is loaded from such files, so who may write them matters more than what they hold: a checksum can be
    forged along with the file, and a key for an HMAC would lie beside it. The folder is therefore made with mode 0700,
    and it is refused when it belongs to somebody else or others may write to it. Raises `Misconfigured` then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid != os.geteuid():
            raise Misconfigured(f"{path}: belongs to user {found.st_uid}, not to this process's {os.geteuid()}")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Misconfigured(f"{path}: others may write to it; run chmod go-w {path}")

    def read(self, name: str) -> bytes | None:
        """Return what was written, or None when it is absent, damaged or somebody else's."""
        try:
            descriptor = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
            content = file.read()
        digest, body = content[:32], content[32:]
        return body if hashlib.sha256(body).digest() == digest else None

    def write(self, name: str, content: bytes) -> None:
        """Write a file of mode 0600; a full disk or a lost race leaves what was there (this is a cache)."""
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=".new-")
        except OSError:
            return
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            Path(temporary).replace(self.path / name)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
