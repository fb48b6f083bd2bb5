"""The `opa` binary: found, called, and its errors turned into lines that a person can act on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from apx.errors import Misconfigured, Unavailable

OPA_VERSION = "1.22.2"
"""The version that APX is tested with; `capabilities.json` is generated from it."""

_LOCAL = Path(__file__).resolve().parents[2] / ".tools" / "opa"
_TIMEOUT_S = 60.0


class Finding(msgspec.Struct, frozen=True, order=True):
    """One mistake that opa found."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.message}" if place else self.message


class Completed(msgspec.Struct, frozen=True):
    """What a run of opa left."""

    status: int
    stdout: bytes
    stderr: str


class Opa:
    """One opa binary.

    Calls are synchronous and bounded to 60 s. They see a fixed environment (UTC, no proxies, no experimental
    switches), so that what opa builds depends on its input alone.
    """

    def __init__(self, binary: Path) -> None:
        self.binary = binary

    @classmethod
    def find(cls) -> Opa:
        """Take the binary that APX_OPA names, else `opa` on PATH, else the repository's `.tools/opa`.

        Raises `Misconfigured`, saying how to install it.
        """
        named = os.environ.get("APX_OPA")
        if named:
            if shutil.which(named) is None:
                raise Misconfigured(f"APX_OPA={named!r} is not an executable file; unset it or name the opa binary")
            return cls(Path(named))
        on_path = shutil.which("opa")
        if on_path is not None:
            return cls(Path(on_path))
        if os.access(_LOCAL, os.X_OK):
            return cls(_LOCAL)
        raise Misconfigured(
            "opa was not found by APX_OPA, on PATH or at .tools/opa. Install it with "
            f"`go install github.com/open-policy-agent/opa@v{OPA_VERSION}`, or put release {OPA_VERSION} on PATH"
        )

    def version(self) -> str:
        """Return the binary's version, for instance `1.22.2`."""
        return self._version

    @cached_property
    def _version(self) -> str:
        completed = self.run(["version"])
        for line in completed.stdout.decode(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name == "Version":
                return value.strip()
        raise Misconfigured(f"{self.binary} version did not say its version: is it opa?")

    def run(self, arguments: Sequence[str], *, cwd: Path | None = None, stdin: bytes = b"") -> Completed:
        """Run opa to its end. Raises `Misconfigured` when it cannot be started, `Unavailable` when it hangs."""
        try:
            completed = subprocess.run(  # noqa: S603  a fixed binary, arguments as a list, no shell
                [str(self.binary.absolute()), *arguments],
                cwd=cwd,
                input=stdin,
                capture_output=True,
                timeout=_TIMEOUT_S,
                env={"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/"), "TZ": "UTC"},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"opa {arguments[0]} did not end within {_TIMEOUT_S:.0f} s") from error
        except OSError as error:
            raise Misconfigured(f"{self.binary} cannot be started: {error.strerror}") from error
        return Completed(completed.returncode, completed.stdout, completed.stderr.decode(errors="replace"))


class _Location(msgspec.Struct):
    file: str = ""
    row: int = 0
    col: int = 0


class _Error(msgspec.Struct):
    message: str
    code: str = ""
    location: _Location | None = None


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


def findings(output: bytes, *, prefix: str = "") -> list[Finding]:
    """Read opa's JSON errors, sorted by place; `prefix` goes before each file's name. Empty if there are none."""
    try:
        errors = msgspec.json.decode(output, type=_Errors).errors
    except msgspec.DecodeError:
        return []
    found = set()
    for error in errors:
        at = error.location or _Location()
        found.add(Finding(f"{prefix}{at.file}" if at.file else "", at.row, at.col, error.message))
    return sorted(found)
