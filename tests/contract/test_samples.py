"""Recorded decisions in files: several processes, a death in the middle of a line, and bounds."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from apx.backends.files import samples as files
from apx.backends.files.samples import FileSamples, RecordedInputs, read_file
from apx.errors import NotFound, Unavailable
from apx.policy.sample import Sample, line_of


def sample(at_ms: int, product: str = "orders", org: str = "acme") -> Sample:
    document = {
        "org": org,
        "plan": "free",
        "request": {"method": "GET", "route": "/", "path": "/", "params": {}, "headers": {}},
    }
    return Sample(
        at_ms=at_ms,
        product=product,
        release="sha256:1",
        org=org,
        route="/",
        method="GET",
        allow=True,
        reason="ok",
        input=msgspec.Raw(msgspec.json.encode(document)),
    )


def times(folder: Path, product: str = "orders") -> list[int]:
    return [one.at_ms for one in RecordedInputs(folder).of(product)]


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.jsonl"))


async def test_what_is_appended_is_read_by_product(tmp_path: Path) -> None:
    store = FileSamples(tmp_path / "samples")
    await store.append([sample(1), sample(2, "exports"), sample(3)])
    await store.append([sample(4)])
    assert times(tmp_path / "samples") == [4, 3, 1]
    assert times(tmp_path / "samples", "exports") == [2]
    assert times(tmp_path / "samples", "none") == []


async def test_only_their_owner_can_read_them(tmp_path: Path) -> None:
    store = FileSamples(tmp_path / "samples")
    await store.append([sample(1)])
    for path in [tmp_path / "samples", *(tmp_path / "samples").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


async def test_processes_write_beside_one_another_and_are_read_together(tmp_path: Path) -> None:
    one, other = FileSamples(tmp_path), FileSamples(tmp_path)
    await one.append([sample(1)])
    await other.append([sample(2)])
    await one.append([sample(3)])
    assert written(tmp_path) == ["orders.1.jsonl", "orders.2.jsonl"]
    assert times(tmp_path) == [3, 2, 1]


async def test_a_process_goes_on_with_the_files_of_a_dead_one_after_a_torn_line(tmp_path: Path) -> None:
    dead = FileSamples(tmp_path)
    await dead.append([sample(1), sample(2)])
    dead.close()
    path = tmp_path / "orders.1.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert times(tmp_path) == [1]
    await FileSamples(tmp_path).append([sample(3)])
    assert times(tmp_path) == [3, 1]
    assert written(tmp_path) == ["orders.1.jsonl"]


async def test_a_file_stays_bounded_and_keeps_the_newest_of_each_org(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 20 * len(line_of(sample(1000))))
    monkeypatch.setattr(files, "_LEAST_BYTES", 1)
    store = FileSamples(tmp_path)
    await store.append([sample(1, org="rare")])
    for at in range(1000, 1200):
        await store.append([sample(at)])
        assert (tmp_path / "orders.1.jsonl").stat().st_size <= files.MOST_BYTES * 2
    kept = times(tmp_path)
    assert (kept[0], kept[-1]) == (1199, 1)
    assert 19 <= len(kept) <= 40


@pytest.mark.parametrize("product", ["../orders", "", "a/b", "*", "orders\n"])
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, product: str) -> None:
    await FileSamples(tmp_path / "samples").append([sample(1, product)])
    assert written(tmp_path) == []
    assert times(tmp_path / "samples", product) == []


async def test_a_folder_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("")
    with pytest.raises(Unavailable, match="not recorded"):
        await FileSamples(tmp_path / "samples").append([sample(1)])


def test_lines_of_any_length_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "hostile.jsonl"
    path.write_bytes(
        b"x" * 300_000 + b"\n" + line_of(sample(1)) + b"\xff\n" + b"[" * 100_000 + b"\n" + line_of(sample(2))
    )
    read = read_file(path)
    assert [one.at_ms for one in read.samples] == [1, 2]
    assert read.passed_over == 3


@pytest.mark.parametrize("name", ["none", ".", "a\0b", "x" * 5000])
def test_what_is_no_file_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises((NotFound, Unavailable)):
        read_file(tmp_path / name)


WRITER = """
import asyncio, sys
from pathlib import Path
from apx.backends.files.samples import FileSamples
from apx.policy.sample import read_samples

async def main():
    store = FileSamples(Path(sys.argv[1]))
    (sample,) = read_samples([sys.stdin.buffer.readline()]).samples
    while True:
        await store.append([sample] * 50)
        print("written", flush=True)

asyncio.run(main())
"""


def test_a_process_that_is_killed_leaves_what_can_be_read_and_its_slot(tmp_path: Path) -> None:
    for round_ in (1, 2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdin.write(line_of(sample(round_)))
            writer.stdin.flush()
            for _ in range(5):
                assert writer.stdout.readline() == b"written\n"
            writer.kill()
        assert written(tmp_path) == ["orders.1.jsonl"]
        read = read_file(tmp_path / "orders.1.jsonl")
        assert sum(one.at_ms == round_ for one in read.samples) >= 250
        assert read.passed_over <= round_
