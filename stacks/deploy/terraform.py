"""Terraform on one stack at a time: the commands, and what its failures mean to whoever reads them.

Providers are installed with `-lockfile=readonly` once `stacks/terraform.lock.hcl` is there: then nothing runs that is
not in it. Until then their versions are exact in the synthesised JSON, and Terraform checks the registry's signatures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from stacks.deploy.commands import INTERRUPTED, Commands, Done
from stacks.deploy.order import Stack
from stacks.deploy.plan import Plan, read_plan

LOCK_FILE = Path(__file__).resolve().parents[1] / "terraform.lock.hcl"
LOCAL_LOCK = ".terraform.lock.hcl"
RESCUED = "errored.tfstate"
"""Where Terraform writes the state that it could not store."""
CHANGES = 2
NO_IMAGE = f"not-deployed.invalid/apx@sha256:{'0' * 64}"
"""Stands for the image where none is deployed: in what is destroyed, and in the first look."""
_PROVIDER = re.compile(r'^provider "[^"]*/([^/"]+)" \{.*?^\}\n', re.MULTILINE | re.DOTALL)
_LOCK = re.compile(r"^[\s│|]*(ID|Operation|Who|Created):\s*(.+?)\s*$", re.MULTILINE)
_ERROR = re.compile(r"^[\s│|]*(Error: .+?)\s*$", re.MULTILINE)
WAYS_OUT: tuple[tuple[str, str], ...] = (
    ("containing objects without `force_destroy`", "empty the bucket first: `gcloud storage rm -r gs://BUCKET/**`"),
    ("Instance cannot be destroyed", "it is protected in the stack: what keeps data is not destroyed from here"),
    (
        "Cannot destroy .* without setting deletion_?protection",
        "`data.delete_protection` of the environment protects it",
    ),
    (
        "Unable to find remote state",
        "what it stands on is not deployed: `./dev deploy` brings the stacks in their order",
    ),
    ("NetworkEndpointGroup|network endpoint group", "GKE makes the groups once the workloads are there: run it again"),
    ("[Qq]uota.*exceeded|QUOTA_EXCEEDED", "ask for more on the project's page of quotas, then run it again"),
    ("Error 403|PERMISSION_DENIED|permission denied", "the account lacks a right: `--check` lists what it needs"),
    ("has not been used in project|SERVICE_DISABLED", "an API is still being switched on: wait a minute, run it again"),
    ("does not exist.*gcp-sa-|Service account .*gcp-sa-.* does not exist", "`--bootstrap` makes Google's accounts"),
    ("already exists", "it was made elsewhere: `terraform import` it in the stack's folder, or remove it"),
)
"""What of Terraform's errors tells which way out there is."""


class Failed(Exception):
    """A stack could not be planned or applied; the message says why, and what to do about it."""

    def __init__(self, stack: Stack, message: str) -> None:
        super().__init__(message)
        self.stack = stack


class Terraform:
    """Plans and applies, in the folder of a stack; plans are kept in a folder that goes with the deployment."""

    def __init__(
        self, commands: Commands, plans: Path, *, image: str = NO_IMAGE, lock_file: Path = LOCK_FILE, cache: Path
    ) -> None:
        self._commands = commands
        self._plans = plans
        self._lock_file = lock_file
        self._env = {"TF_IN_AUTOMATION": "1", "TF_PLUGIN_CACHE_DIR": str(cache)}
        if not lock_file.exists():  # the cache is used all the same; versions are exact in the JSON
            self._env["TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE"] = "1"
        self._image = image
        cache.mkdir(parents=True, exist_ok=True)

    def initialise(self, stack: Stack) -> None:
        """Install providers and find the state. Not side by side: the providers' cache is not made for that."""
        options = []
        if self._lock_file.exists():
            (stack.folder / LOCAL_LOCK).write_text(_locked(self._lock_file.read_text(), stack))
            options.append("-lockfile=readonly")
        self._run(stack, "init", "-reconfigure", *options)

    def plan(self, stack: Stack, *options: str) -> Plan:
        """Plan, keep the plan, and return what it says. Raises `Failed`."""
        saved = str(self._saved(stack))
        self._run(stack, "plan", "-detailed-exitcode", f"-out={saved}", *options, also=CHANGES)
        shown = self._commands.run(("terraform", "show", "-json", saved), cwd=stack.folder, env=self._env)
        if not shown.ok:
            raise Failed(stack, explained(stack, shown))
        return read_plan(stack.name, shown.stdout)

    def apply(self, stack: Stack) -> None:
        """Apply the plan that was kept, and nothing else. Raises `Failed`."""
        self._run(stack, "apply", str(self._saved(stack)), shown_as=stack.name)
        self._saved(stack).unlink(missing_ok=True)

    def outputs(self, stack: Stack) -> Mapping[str, Any]:
        """Return a deployed stack's outputs; none where it is not deployed."""
        done = self._commands.run(("terraform", "output", "-json"), cwd=stack.folder, env=self._env)
        return {name: one["value"] for name, one in msgspec.json.decode(done.stdout).items()} if done.ok else {}

    def running_image(self, stack: Stack) -> str:
        """Return the image that a stack's deployments run; empty where there are none."""
        done = self._commands.run(("terraform", "show", "-json"), cwd=stack.folder, env=self._env)
        state = msgspec.json.decode(done.stdout) if done.ok and done.stdout else {}
        for one in (state.get("values") or {}).get("root_module", {}).get("resources", ()):
            if one["type"] == "kubernetes_deployment_v1":
                return str(one["values"]["spec"][0]["template"][0]["spec"][0]["container"][0]["image"])
        return ""

    def with_image(self, image: str) -> None:
        """Use this image from here on."""
        self._image = image

    def _saved(self, stack: Stack) -> Path:
        return self._plans / f"{stack.name}.tfplan"

    def _run(self, stack: Stack, command: str, *options: str, also: int = 0, shown_as: str = "") -> None:
        env = {**self._env, "TF_VAR_image": self._image} if stack.needs_image else self._env
        argv = ("terraform", command, "-input=false", "-no-color", *options)
        done = self._commands.run(argv, cwd=stack.folder, env=env, shown_as=shown_as)
        if done.code not in (0, also):
            raise Failed(stack, explained(stack, done))


def explained(stack: Stack, done: Done) -> str:
    """Return what went wrong in a few lines, each with the way out where one is known."""
    if done.code == INTERRUPTED and not done.stdout:
        return f"{stack.name}: not begun, after an interrupt"
    said = f"{done.text}\n{done.stderr}" if not done.stderr.strip() else done.stderr
    errors = list(dict.fromkeys(_ERROR.findall(said))) or said.strip().splitlines()[-3:]
    lines = [f"{stack.name}: {error}" for error in errors or [f"terraform ended with {done.code} and said nothing"]]
    lines += [f"  → {way}" for sign, way in WAYS_OUT if re.search(sign, said)]
    if lock := dict(_LOCK.findall(said[said.find("Lock Info:") :] if "Lock Info:" in said else "")):
        lines.append(held(stack, lock.get("ID", "?"), lock))
    if (stack.folder / RESCUED).exists():
        lines.append(
            f"  → Terraform could not store the state and left it in {stack.folder / RESCUED}: "
            f"`cd {stack.folder} && terraform state push {RESCUED}` before anything else"
        )
    return "\n".join(lines)


def held(stack: Stack, id_: str, lock: Mapping[str, Any]) -> str:
    """Return who holds a stack's lock, and what to do: nothing here ever breaks one."""
    who, operation, created = (lock.get(name) or "unknown" for name in ("Who", "Operation", "Created"))
    return (
        f"{stack.name}: locked by {who} ({operation}, since {created}): wait for them. Only when that process is gone "
        f"for sure: `cd {stack.folder} && terraform force-unlock {id_}`"
    )


def _locked(text: str, stack: Stack) -> str:
    """Return the lock file's part for a stack's providers: with more in it, a read-only one is refused."""
    wanted = stack.document.get("terraform", {}).get("required_providers", {})
    return "".join(one.group() for one in _PROVIDER.finditer(text) if one.group(1) in wanted)
