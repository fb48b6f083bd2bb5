from __future__ import annotations

import pytest

from apx.errors import Misconfigured
from services.worker.settings import WorkerSettings
from stacks.variables import tell


def test_what_is_said_becomes_the_variables_of_the_class() -> None:
    told = tell(WorkerSettings, {"worker_host": "0.0.0.0", "drain_s": 7})  # noqa: S104 -- an example
    assert told.variables == {"APX_WORKER_HOST": "0.0.0.0", "APX_DRAIN_S": "7"}  # noqa: S104 -- an example
    assert told.settings.drain_s == 7


@pytest.mark.parametrize(("field", "value"), [("worker_hots", "x"), ("worker_port", 70_000), ("concurrency", "many")])
def test_what_the_process_would_refuse_is_refused_here(field: str, value: str | int) -> None:
    with pytest.raises(Misconfigured, match=f"WorkerSettings: {field}: "):
        tell(WorkerSettings, {field: value})


def test_the_environment_of_whoever_synthesises_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APX_DRAIN_S", "1")
    assert tell(WorkerSettings, {}).settings.drain_s == WorkerSettings.model_fields["drain_s"].default
