"""Rego → WASM: one policy with what it imports and the data that it reads, built alike on every machine."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec

from apx.errors import PolicyRejected
from apx.policy.capabilities import CAPABILITIES, IMPURE, capabilities_digest, refusal
from apx.policy.module import required_builtins
from apx.policy.opa import Opa, findings
from apx.policy.sources import Closure, closure, lay_out, select
from apx.policy.storage import PrivateFolder

ENTRYPOINT = "decision"
_FORMAT = "1"


class CompiledPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as a release holds it."""

    package: str
    wasm: bytes
    data: bytes
    """Canonical JSON: what the policy reads under `data`, and nothing else."""
    pure: bool
    """The decision depends on the input alone, so it may be memoised."""
    builtins: tuple[str, ...]
    """Builtins that the runtime has to provide, sorted."""
    warnings: tuple[str, ...] = ()


def compile_policy(opa: Opa, policies_root: Path, package: str, *, cache_dir: Path | None = None) -> CompiledPolicy:
    """Build `data.<package>.decision`. Raises `PolicyRejected` with one line per mistake.

    With `cache_dir`, what was built before from the same sources by the same opa is read back, and the native code that
    an `Evaluator` needs is left there too.
    """
    sources = closure(policies_root, package)
    if cache_dir is None:
        return _build(opa, policies_root, sources, cache_dir)
    cache = PrivateFolder(cache_dir)
    name = f"{fingerprint(opa, sources)}.policy"
    held = cache.read(name)
    if held is not None:
        return msgspec.msgpack.decode(held, type=CompiledPolicy)
    built = _build(opa, policies_root, sources, cache_dir)
    cache.write(name, msgspec.msgpack.encode(built))
    return built


def _build(opa: Opa, root: Path, sources: Closure, cache_dir: Path | None) -> CompiledPolicy:
    with tempfile.TemporaryDirectory(prefix="apx-policy-") as temporary:
        folder = Path(temporary)
        lay_out(folder / "src", (*sources.modules, *sources.documents))
        entrypoint = "/".join([*sources.package.split("."), ENTRYPOINT])
        # Names of files are part of the module, so opa is run inside the folder and sees relative ones.
        completed = opa.run(
            ["build", "-t", "wasm", "-e", entrypoint, "--capabilities", str(CAPABILITIES), "-b", ".", "-o", "../out"],
            cwd=folder / "src",
        )
        if completed.status != 0:
            said = (completed.stderr or completed.stdout.decode(errors="replace")).strip().removeprefix("error: ")
            raise PolicyRejected(_mistakes(opa, folder / "src", root) or f"{root}: package {sources.package}: {said}")
        wasm, data = _unpack((folder / "out").read_bytes())
        warnings = _warnings(opa, folder / "src", sources)
    builtins = required_builtins(wasm, cache_dir)
    return CompiledPolicy(
        package=sources.package,
        wasm=wasm,
        data=canonical(select(data, sources.refs)),
        pure=IMPURE.isdisjoint(builtins),
        builtins=builtins,
        warnings=tuple(warnings),
    )


def _mistakes(opa: Opa, folder: Path, root: Path) -> str:
    """Ask opa for all mistakes with their places; `opa build` stops at the first kind and writes prose."""
    completed = opa.run(
        ["check", "--format", "json", "--max-errors", "100", "--capabilities", str(CAPABILITIES), "-b", "."],
        cwd=folder,
    )
    found = findings(completed.stderr.encode(), prefix=f"{root}/")
    return "\n".join(f"{finding}{refusal(finding.message)}" for finding in found)


def _unpack(bundle: bytes) -> tuple[bytes, object]:
    with tarfile.open(fileobj=BytesIO(bundle)) as archive:
        members = {member.name.lstrip("/"): archive.extractfile(member) for member in archive}
        wasm, data = members.get("policy.wasm"), members.get("data.json")
        if wasm is None:
            raise PolicyRejected("opa built a bundle without policy.wasm")
        return wasm.read(), json.loads(data.read()) if data else {}


def canonical(document: object) -> bytes:
    """Return JSON with sorted keys and no spaces, in UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def fingerprint(opa: Opa, sources: Closure) -> str:
    """Name everything that a build or a test run of these sources depends on."""
    digest = hashlib.sha256()
    for part in (_FORMAT, opa.version(), capabilities_digest(), sources.package):
        digest.update(f"{part}\0".encode())
    for source in (*sources.modules, *sources.documents):
        digest.update(f"{source.name}\0{len(source.content)}\0".encode() + source.content)
    return digest.hexdigest()


def _warnings(opa: Opa, folder: Path, sources: Closure) -> list[str]:
    """Say so when `decision` may be undefined: at run time that is a deny with `policy-undefined`."""
    for source in sources.own:
        parsed = opa.run(["parse", "--format", "json", source.name], cwd=folder)
        rules = json.loads(parsed.stdout).get("rules", []) if parsed.status == 0 else []
        if any(_is_total(rule) for rule in rules):
            return []
    return [f"package {sources.package}: decision may be undefined, which denies; add `default decision := …`"]


def _is_total(rule: dict[str, Any]) -> bool:
    head = rule["head"]
    name = head.get("name") or head["ref"][0]["value"]
    if name != ENTRYPOINT:
        return False
    steps_into = len(head.get("ref", [])) > 1 or "key" in head  # a partial rule is at least empty
    return bool(rule.get("default")) or steps_into
