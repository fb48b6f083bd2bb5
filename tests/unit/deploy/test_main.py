from __future__ import annotations

import io
from pathlib import Path

import pytest

from stacks.deploy.__main__ import main
from stacks.deploy.commands import Done, Processes
from tests.unit.deploy.recorded import Recorded, Site, planned


@pytest.fixture
def recorded(out: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Let the command line meet what is recorded in the place of processes and servers."""
    commands = Recorded()
    monkeypatch.setattr(Processes, "run", lambda _, argv, **more: commands.run(argv, **more))
    monkeypatch.setattr("stacks.deploy.__main__.Https", Site)
    monkeypatch.setattr("stacks.deploy.__main__.OUT", out.parent)
    return commands


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("deploy", "nowhere", "--base"), "nowhere.yaml: No such file or directory: the environments here are: dev, "),
        (("deploy", "dev"), "The workloads need an image: --image REPOSITORY@sha256:…"),
        (("deploy", "dev", "--image", "apx:latest"), "--image apx:latest: name the image by its digest"),
        (("destroy", "prod"), "prod is not destroyed from here: it is production."),
        (("destroy", "staging"), "staging is not destroyed from here: its data has `delete_protection`."),
    ],
)
def test_what_may_not_be_is_one_readable_message(
    recorded: Recorded, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert recorded.ran == []


def test_a_difference_is_the_exit_code_and_stands_in_the_summary(
    recorded: Recorded, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    recorded.replies.update(planned({"dev-data": {"google_x.a": ("create",)}}))
    assert main(("diff", "dev")) == 2
    assert "dev-data: 1 to add\n  + google_x.a" in capsys.readouterr().out
    assert (tmp_path / "summary").read_text().startswith("## Changes of `dev`")


def test_a_look_changes_nothing(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("deploy", "dev", "--check")) == 0
    assert "note: ops@apx.example deploys dev" in capsys.readouterr().out
    assert not recorded.texts("terraform init")


def test_a_deployment_in_a_workflow_ends_without_a_question(
    recorded: Recorded, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    recorded.replies.update(planned({"dev-network": {"google_x.a": ("create",)}}))
    assert main(("deploy", "dev", "--base")) == 1
    assert "there is nobody to ask here" in capsys.readouterr().out


def test_saved_plans_are_gone_afterwards(recorded: Recorded) -> None:
    saved: list[Path] = []

    def save(ran: object) -> Done:
        del ran
        (option,) = (word for word in recorded.ran[-1].argv if word.startswith("-out="))
        saved.append(Path(option.removeprefix("-out=")))
        saved[-1].write_text("what the state holds")
        return Done(0)

    recorded.replies["terraform plan"] = save
    main(("diff", "dev"))
    assert saved
    assert not [path for path in saved if path.exists()]
