from __future__ import annotations

from pathlib import Path

import pytest

from apx.errors import Misconfigured
from apx.local.settings import LocalSettings, busy, free_range


@pytest.mark.parametrize("value", ["auto", "0"])
def test_any_free_port_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for name in ("EDGE", "CONTROL", "ROUTER", "WORKER", "DEMO", "MONITOR"):
        monkeypatch.setenv(f"APX_{name}_PORT", value)
    ports = LocalSettings.load().resolved().ports().values()
    assert len(set(ports)) == 6
    assert not any(busy(port) for port in ports)


def test_further_workers_take_the_next_ports() -> None:
    settings = LocalSettings(worker_port=free_range(3), workers=3)
    first = settings.worker_port
    assert [port for name, port in settings.ports().items() if "WORKER" in name] == [first, first + 1, first + 2]


@pytest.mark.parametrize(
    ("name", "value"), [("APX_EDGE_PORT", "http"), ("APX_EDGE_PORT", "65536"), ("APX_WORKERS", "0")]
)
def test_a_wrong_value_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=f"{name}='{value}'"):
        LocalSettings.load()


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = LocalSettings(home=Path("data"), gitops=Path("tree")).resolved()
    assert (settings.home, settings.gitops) == (tmp_path / "data", tmp_path / "tree")


def test_the_example_products_are_led_to_wherever_the_demo_backend_listens() -> None:
    environment = LocalSettings(demo_port=9123, connect_to="a:1=b:2").environment()
    assert environment["APX_CONNECT_TO"] == "a:1=b:2,demo.localhost:9000=127.0.0.1:9123"
