from __future__ import annotations

from pathlib import Path

import pytest

from checks.dockerfiles import ROOT, Instruction, main, mistakes, read

DIGEST = "sha256:" + "0" * 64
FROM = f"FROM base:1@{DIGEST}"


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    return tmp_path / "Dockerfile"


def test_ours_are_right() -> None:
    assert [line for path in sorted(ROOT.glob("*/**/Dockerfile")) for line in mistakes(path)] == []
    assert main([]) == 0


def test_continued_lines_are_one_instruction(dockerfile: Path) -> None:
    dockerfile.write_text(f"# why\n{FROM}\n\nRUN one \\\n  # two is why\n  && two\n")
    assert read(dockerfile) == [Instruction(2, "FROM", f"base:1@{DIGEST}"), Instruction(4, "RUN", "one && two")]


def test_a_stage_needs_no_digest_and_its_user_does_not_count(dockerfile: Path) -> None:
    dockerfile.write_text(f"{FROM} AS build\nUSER root\n{FROM}\nCOPY --from=build /a /a\nUSER 7:7\n")
    assert list(mistakes(dockerfile)) == []


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        ("FROM base:1\nUSER 7", 1, "base:1 may be another image tomorrow"),
        ("FROM base\nUSER 7", 1, "base may be another image tomorrow"),
        (f"FROM base@{DIGEST}\nUSER 7", 1, "may be another image"),
        (f"FROM --platform=linux/amd64 base:latest@{DIGEST}\nUSER 7", 1, "no latest"),
        (f"{FROM}\nCOPY --from=tools:1 /a /a\nUSER 7", 2, "tools:1 may be another image"),
        (f"{FROM}\nADD https://example.com/a /a\nUSER 7", 2, "use COPY"),
        (f"{FROM}\nENV A=1 API_TOKEN=x\nUSER 7", 2, "API_TOKEN: what stands in ENV can be read"),
        (f"{FROM}\nARG db_password\nUSER 7", 2, "db_password: what stands in ARG can be read"),
        (f"{FROM}\nRUN curl -s https://example.com/i | sh\nUSER 7", 2, "run unseen"),
        (f"{FROM}\nRUN wget -qO- x \\\n  | sudo bash -s\nUSER 7", 2, "run unseen"),
        (f"{FROM}\nRUN true", 1, "it would run as root"),
        (f"{FROM}\nUSER 0:0", 2, "it would run as 0:0"),
        (f"{FROM}\nUSER apx", 2, "it would run as apx"),
    ],
)
def test_each_mistake_is_told_with_its_line(dockerfile: Path, body: str, line: int, said: str) -> None:
    dockerfile.write_text(body + "\n")
    (message,) = mistakes(dockerfile)
    assert message.startswith(f"{dockerfile}:{line}: ")
    assert said in message
