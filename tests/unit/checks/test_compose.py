"""What must hold of `compose.yaml`: every process is told what it knows, and may do no more than it needs."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from apx.backends.http.connect_to import parse_connect_to
from apx.backends.valkey.server import server_command
from apx.local.folder import LONGEST_SOCKET, SOCKET_PATH_BYTES
from apx.local.settings import DEMO_BACKEND, LocalSettings
from apx.policy.opa import OPA_VERSION
from apx.settings import Settings
from checks.dockerfiles import PINNED, ROOT, read
from services.control.settings import ControlSettings
from services.edge.settings import EdgeSettings
from services.monitor.settings import MonitorSettings
from services.router.settings import RouterSettings
from services.worker.settings import WorkerSettings

Service = dict[str, Any]

SETTINGS: dict[str, type[Settings]] = {
    "services.edge.envoy": EdgeSettings,
    "services.edge": EdgeSettings,
    "services.router": RouterSettings,
    "services.worker": WorkerSettings,
    "services.monitor": MonitorSettings,
    "services.control": ControlSettings,
    "apx.local.seed": Settings,
}
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Service] = COMPOSE["services"]
TOLD = [name for name, service in SERVICES.items() if service["command"][:2] == ["python", "-m"] and name != "demo"]
DOCKERFILE = ROOT / "services" / "Dockerfile"

each_service = pytest.mark.parametrize("name", SERVICES)
each_process = pytest.mark.parametrize("name", TOLD)


def module_of(name: str) -> str:
    return str(SERVICES[name]["command"][2])


def settings_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load a service's environment as its process would."""
    with monkeypatch.context() as alone:
        for variable in [variable for variable in os.environ if variable.startswith("APX_")]:
            alone.delenv(variable)
        for variable, value in SERVICES[name]["environment"].items():
            alone.setenv(variable, value)
        return SETTINGS[module_of(name)].load()


def port_asked(name: str) -> int:
    (found,) = re.findall(r"http://127\.0\.0\.1:(\d+)/(?:readyz|healthz)'", SERVICES[name]["healthcheck"]["test"][-1])
    return int(found)


def volumes(name: str) -> dict[str, str]:
    """Return what is mounted, by where."""
    return {target: source for source, target, *_ in (one.split(":") for one in SERVICES[name]["volumes"])}


def test_every_process_runs_and_nothing_else_of_ours() -> None:
    assert {module_of(name) for name in TOLD} == SETTINGS.keys()
    assert all(find_spec(module_of(name)) for name in (*TOLD, "demo"))
    assert SERVICES.keys() == {*TOLD, "demo", "valkey"}


@each_process
def test_every_variable_is_a_setting_of_its_process_and_loads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = SETTINGS[module_of(name)].model_fields
    assert SERVICES[name]["environment"].keys() <= {f"APX_{field.upper()}" for field in fields}
    settings_of(name, monkeypatch)


@pytest.mark.parametrize("name", [name for name in TOLD if name != "seed"])
def test_every_process_is_asked_on_its_own_port(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(name, monkeypatch)
    own = {"edge": "edge_port", "edge-config": "edge_config_port"}.get(name, f"{name}_port")
    assert port_asked(name) == getattr(settings, own)
    # Where it is not off by default, it is the default.
    assert type(settings).model_fields[own].default in (port_asked(name), 0)


@each_service
def test_ports_are_published_on_loopback_alone_and_lead_to_who_listens_on_every_address(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = SERVICES[name].get("ports", [])
    assert published == ([f"127.0.0.1:{port_asked(name)}:{port_asked(name)}"] if published else [])
    bind = {"edge": "edge_bind", "control": "control_bind"}.get(name)
    assert bool(published) is (bind is not None)
    if bind:
        assert getattr(settings_of(name, monkeypatch), bind) == "0.0.0.0"  # noqa: S104 -- a container's own address


@each_service
def test_no_container_may_do_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    (image_user,) = {step.arguments for step in read(DOCKERFILE) if step.name == "USER"}
    assert service["user"] == ("999:999" if name == "valkey" else image_user)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.keys().isdisjoint({"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "secrets"})
    assert not any("docker.sock" in str(one) for one in service.get("volumes", ()))
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert service["logging"]["options"]["max-size"]


@each_service
def test_what_is_mounted_from_the_checkout_cannot_be_written(name: str) -> None:
    for mount in SERVICES[name]["volumes"]:
        source = mount.split(":")[0]
        assert mount.endswith(":ro") if source.startswith(".") else source in COMPOSE["volumes"]
        assert (ROOT / source).is_dir() or source in COMPOSE["volumes"]


@each_service
def test_everything_has_a_check_and_starts_after_what_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert "healthcheck" in service or name == "seed"
    for needed, how in service.get("depends_on", {}).items():
        assert needed in SERVICES
        assert how["condition"] == ("service_completed_successfully" if needed == "seed" else "service_healthy")
    if "store" in service["networks"] and name not in ("valkey", "seed"):
        assert {"valkey", "seed"} <= service["depends_on"].keys()


def test_images_are_pinned_or_built_here() -> None:
    for name, service in SERVICES.items():
        assert PINNED.fullmatch(service["image"]) or ROOT.joinpath(service["build"]["dockerfile"]) == DOCKERFILE, name
    stages = [step.arguments for step in read(DOCKERFILE) if step.name == "FROM"]
    assert f"build AS {SERVICES['seed']['build']['target']}" in stages


def test_the_image_that_builds_releases_has_the_opa_that_they_were_tested_with() -> None:
    steps = [step.arguments for step in read(DOCKERFILE) if step.name == "RUN"]
    assert [step.rpartition("@v")[2] for step in steps if "go install" in step] == [OPA_VERSION]


def test_valkey_keeps_and_answers_as_the_local_one_does() -> None:
    def options(command: list[str]) -> dict[str, str]:
        return dict(zip([one.removeprefix("--") for one in command[1::2]], command[2::2], strict=True))

    ours = options(server_command(Path("/data"), Path("socket")))
    theirs = options(SERVICES["valkey"]["command"])
    assert ours | theirs == ours | {"maxmemory": theirs["maxmemory"]}
    assert theirs.keys() >= {"appendonly", "appendfsync", "maxmemory-policy", "dir"}


def test_envoy_holds_no_secret_and_knows_no_store() -> None:
    assert "home" not in volumes("edge").values()
    assert "store" not in SERVICES["edge"]["networks"]
    assert COMPOSE["networks"]["store"] == {"internal": True}
    assert SERVICES["edge"]["environment"].items() <= SERVICES["edge-config"]["environment"].items()


def test_those_who_share_a_file_see_it_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    edge, config, router = (settings_of(name, monkeypatch) for name in ("edge", "edge-config", "router"))
    assert edge.router_path == config.router_path == router.socket
    assert volumes("edge").items() <= volumes("edge-config").items()
    assert {volumes(name)[str(edge.router_path.parent)] for name in ("edge", "edge-config", "router")} == {"sockets"}
    assert volumes("edge")[str(edge.folder)] == "edge"
    assert len(str(edge.home / LONGEST_SOCKET)) <= SOCKET_PATH_BYTES


def test_volumes_are_mounted_where_the_image_has_folders_of_its_user() -> None:
    made = [step.arguments for step in read(DOCKERFILE) if step.arguments.startswith("install -d -m 0700 -o 10001")]
    assert len(made) == len([step for step in read(DOCKERFILE) if step.name == "USER"])
    mounted = {where for name in TOLD for where, source in volumes(name).items() if source in COMPOSE["volumes"]}
    assert all(mounted == {word for word in one.split() if word.startswith("/")} for one in made)


def test_whoever_calls_the_example_products_is_led_to_the_demo_backend() -> None:
    name, _, port = DEMO_BACKEND.partition(":")
    assert port_asked("demo") == LocalSettings.model_fields["demo_port"].default
    for caller in ("worker", "edge-config"):
        led = parse_connect_to(SERVICES[caller]["environment"]["APX_CONNECT_TO"])
        assert led == {(name, int(port)): ("demo", port_asked("demo"))}
        assert {*SERVICES[caller]["networks"]} & {*SERVICES["demo"]["networks"]}
