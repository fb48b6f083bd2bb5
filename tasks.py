"""What people do with the repository: `./dev NAME` (or `invoke NAME` in an activated environment)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

ROOT = Path(__file__).resolve().parent
STACKS = ROOT / ".venv-stacks" / "bin" / "python"
"""CDKTF and its providers are 700 MB that only the stacks need."""
TOOLS = frozenset({"APX_OPA", "APX_ENVOY", "APX_VALKEY_SERVER"})
"""What may reach the tests of the settings of whoever runs them: which binaries to use."""
SIDE_BY_SIDE = (
    *("--numprocesses=2", "--dist=loadscope", "--no-loadscope-reorder"),
    "--override-ini=tmp_path_retention_policy=failed",
)
"""`tests/conftest.py` says which tests go together. What passed leaves nothing behind, as that may be in memory."""
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 3 * 2**30  # noqa: S108 -- tests name their files by `tempfile`, as in /tmp
"""A folder in memory, and the room in it that all tests together may need."""
STORIES = {"rollout": "examples.demo_rollout", "listen": "examples.webhook_listener"}
LOCKS = {
    "requirements-dev.lock": ("pyproject.toml", "--group", "dev"),
    "requirements.lock": ("pyproject.toml", "--constraint", "requirements-dev.lock"),  # what is tested is what ships
    "requirements-bench.lock": ("--group", "bench"),
    "requirements-stacks.lock": ("pyproject.toml", "--group", "stacks"),
    "requirements-checkov.lock": ("--group", "checkov"),
}
LOCK_OPTIONS = (
    *("--universal", "--python-version", "3.11", "--generate-hashes", "--only-binary", ":all:", "--no-header"),
    *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-build-options"),
)


@task
def up(_: Context) -> None:
    """Start the platform on this machine: [--detach] [--json]."""
    _platform("up")


@task
def down(_: Context) -> None:
    """Stop the platform, also what a killed one left."""
    _platform("down")


@task
def status(_: Context) -> None:
    """Show what runs: [--json]."""
    _platform("status")


@task
def logs(_: Context) -> None:
    """Print logs: [NAME] [--follow] [--lines N]."""
    _platform("logs")


@task
def demo(_: Context) -> None:
    """Play a story on the running platform: rollout. Or be who hears of it: listen [PORT]."""
    story, *rest = _rest() or [""]
    if story not in STORIES:
        sys.exit(f"There is no story {story!r}; there are: {', '.join(STORIES)}.")
    sys.exit(_run(sys.executable, "-m", STORIES[story], *rest))


@task
def test(_: Context) -> None:
    """Run every check and every test; with arguments only pytest, with them."""
    arguments = _rest()
    linted = 0 if arguments else _run(sys.executable, "-m", "checks.lint")
    tested = _run(sys.executable, "-m", "pytest", *(arguments or SIDE_BY_SIDE), env=_for_tests(_scratch(arguments)))
    sys.exit(tested or linted)


@task
def lint(_: Context) -> None:
    """Run the standing checks: types, layers, style, policies, workflows, scripts, locks."""
    sys.exit(_run(sys.executable, "-m", "checks.lint"))


@task
def impact(_: Context) -> None:
    """Show what a change does, as its pull request is told: to decisions, or [--stacks] [BASE [HEAD]]."""
    sys.exit(_run(sys.executable, "-m", "checks.impact", *_rest()))


@task
def promote(_: Context) -> None:
    """Build, sign and roll out what was merged, and wait for the verdict: COMMIT."""
    sys.exit(_run(sys.executable, "-m", "checks.promotion", *_rest()))


@task
def synth(_: Context) -> None:
    """Write the Terraform JSON of an environment's stacks: [--environment NAME] [--out FOLDER]."""
    sys.exit(_run(str(STACKS), "-m", "stacks", *_rest()))


@task
def deploy(_: Context) -> None:
    """Bring an environment to its Google Cloud project: ENV --image REPO@sha256:…; --help lists the rest."""
    _deploy("deploy")


@task
def diff(_: Context) -> None:
    """Tell what a deployment would do: ENV [--drift]; without the cloud, what a change would: --offline BASE [HEAD]."""
    if "--offline" in (rest := _rest()):
        sys.exit(_run(sys.executable, "-m", "stacks.changes", *(word for word in rest if word != "--offline")))
    _deploy("diff")


@task
def image(_: Context) -> None:
    """Build, push and attest the image of this commit, with its SBOM and provenance: ENVIRONMENT."""
    sys.exit(_run(sys.executable, "-m", "stacks.deploy", "image", *_rest()))


@task
def destroy(_: Context) -> None:
    """Take an environment away, but for its keys; never production: ENV."""
    _deploy("destroy")


@task
def bench(_: Context) -> None:
    """Run the benchmarks: [--json] [ROW …]."""
    sys.exit(_run(sys.executable, "-m", "tests.bench", *_rest()))


@task
def fmt(_: Context) -> None:
    """Format Python and Rego, and mend what can be mended."""
    opa = os.environ.get("APX_OPA", "opa")
    commands = (("ruff", "check", "--fix-only"), ("ruff", "format"), (opa, "fmt", "--write", "gitops/policies"))
    sys.exit(max(_run(*command) for command in commands))


@task
def lock(_: Context) -> None:
    """Write the locks again from pyproject.toml, moving as little as possible: [--upgrade] [--upgrade-package NAME]."""
    more = _rest()
    sys.exit(
        max(_run("uv", "pip", "compile", "--quiet", *LOCK_OPTIONS, *of, *more, "-o", to) for to, of in LOCKS.items())
    )


def _rest() -> Sequence[str]:
    """Return what stands behind `--`, each argument whole; invoke's own `remainder` joins them with spaces."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else ()


def _platform(command: str) -> None:
    from apx.local.commands import main  # noqa: PLC0415 -- half a second that the other tasks need not wait

    sys.exit(main([command, *_rest()]))


def _deploy(command: str) -> None:
    from stacks.deploy.__main__ import main  # noqa: PLC0415 -- it takes signals, so it runs in this very process

    os.chdir(ROOT)
    sys.exit(main([command, *_rest()]))


def _scratch(arguments: Sequence[str]) -> dict[str, str]:
    """Let all tests together write to memory, where there is room: on a disk their own writes hold up each fsync.

    Some tests alone write where what they leave can be looked at.
    """
    return {} if arguments or _room(MEMORY) < MEMORY_BYTES else {"TMPDIR": str(MEMORY)}


def _room(folder: Path) -> int:
    """Return how many bytes of programs and data there is room for."""
    if not os.access(folder, os.W_OK):
        return 0
    found = os.statvfs(folder)
    return 0 if found.f_flag & os.ST_NOEXEC else found.f_bavail * found.f_frsize


def _for_tests(more: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("APX_") or name in TOOLS} | more


def _run(*command: str, env: Mapping[str, str] | None = None) -> int:
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
