"""Files that are there to do harm: each is a mistake with a name, within bounds of time and memory."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from apx.catalog import tree
from apx.catalog.load import find_mistakes

ORG = "orgs/acme.yaml"


def codes(root: Path) -> list[str]:
    return [mistake.code for mistake in find_mistakes(root)[1]]


def only(root: Path) -> str:
    (mistake,) = find_mistakes(root)[1]
    return str(mistake)


def test_a_nul_is_named_with_its_place(small: Path) -> None:
    (small / ORG).write_bytes((small / ORG).read_bytes().replace(b"Acme", b"Ac\0me"))
    assert only(small).startswith("gitops/orgs/acme.yaml:7:12: there is a character U+0000")


def test_bytes_that_are_no_utf8_are_named_with_their_place(small: Path) -> None:
    (small / ORG).write_bytes((small / ORG).read_bytes().replace(b"Acme", b"Ac\xe9me"))
    assert only(small) == "gitops/orgs/acme.yaml:7:12: byte 0xe9 is not UTF-8: save the file as UTF-8 [not-utf8]"


def test_a_byte_order_mark_is_a_mistake_and_nothing_else_suffers(small: Path) -> None:
    (small / ORG).write_bytes(codecs.BOM_UTF8 + (small / ORG).read_bytes())
    assert codes(small) == ["byte-order-mark"]


@pytest.mark.parametrize("ending", ["\x85", "\u2028", "\u2029"])
def test_ends_of_lines_that_editors_do_not_count_are_refused(small: Path, ending: str) -> None:
    (small / ORG).write_text((small / ORG).read_text().replace("Acme", f"Ac{ending}me"))
    assert only(small).startswith(f"gitops/orgs/acme.yaml:7:12: there is a character U+{ord(ending):04X}")


def test_ends_of_lines_of_windows_are_taken(small: Path) -> None:
    (small / ORG).write_bytes((small / ORG).read_bytes().replace(b"\n", b"\r\n"))
    assert codes(small) == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_are_refused(small: Path, encoding: str) -> None:
    (small / ORG).write_bytes((small / ORG).read_text().encode(encoding))
    assert codes(small) == ["not-utf8"]


@pytest.mark.parametrize("size", [tree.MOST_FILE_BYTES + 1, 100 * 1024 * 1024])
def test_a_large_file_is_refused_before_it_is_read(small: Path, size: int) -> None:
    os.truncate(small / ORG, size)
    assert only(small).startswith(f"gitops/orgs/acme.yaml:1:1: the file has {size} bytes, more than 1048576")


def test_a_tree_of_many_large_files_is_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_TREE_BYTES", 100)
    assert "tree-too-large" in codes(small)


def test_a_tree_of_very_many_files_is_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_FILES", 5)
    assert "tree-too-large" in codes(small)


def test_a_pipe_is_not_waited_for(small: Path) -> None:
    (small / ORG).unlink()
    os.mkfifo(small / ORG)
    assert only(small) == "gitops/orgs/acme.yaml:1:1: this is not a plain file: put one here [file-unreadable]"


@pytest.mark.parametrize("target", ["/dev/zero", "/etc/passwd", "../plans/free.yaml", "acme.yaml", "nowhere"])
def test_a_link_is_refused_wherever_it_leads(small: Path, target: str) -> None:
    (small / ORG).unlink()
    (small / ORG).symlink_to(target)
    assert only(small) == "gitops/orgs/acme.yaml:1:1: this is a symbolic link: put the file itself here [symlink]"


@pytest.mark.parametrize("folder", ["products", "products/orders", "policies/products", "orgs"])
def test_a_link_to_a_folder_is_not_followed(small: Path, folder: str) -> None:
    outside = small.parent / "outside"
    (small / folder).rename(outside)
    (small / folder).symlink_to(outside)
    assert "symlink" in codes(small)


def test_a_key_set_is_not_read_through_a_link(example: Path) -> None:
    keys = example / "products" / "staff-payslips" / "jwks.json"
    keys.rename(example.parent / "keys.json")
    keys.symlink_to(example.parent / "keys.json")
    assert sorted(codes(example)) == ["jwks-unreadable", "symlink"]


def test_names_that_differ_only_in_capitals_collide(small: Path) -> None:
    (small / "orgs" / "Acme.yaml").write_text((small / ORG).read_text())
    assert "name-case-collision" in codes(small)


@pytest.mark.parametrize("folder", ["products", "plans", "orgs", "policies", "."])
def test_a_name_cannot_forge_lines(small: Path, folder: str) -> None:
    forged = "free\n\x1b[2Jall is well\u202e"
    (small / folder / forged).mkdir()
    (small / folder / f"{forged}.yaml").write_text((small / "plans" / "free.yaml").read_text())
    org = (small / ORG).read_text()
    (small / ORG).write_text(org.replace("orders: free", "frea: free") + '"a\\nb": 1\n"a\\nb": 1\n')
    assert all(str(mistake).isprintable() for mistake in find_mistakes(small)[1])


def test_a_file_name_that_is_no_text_is_shown_escaped(small: Path) -> None:
    (small / "orgs" / os.fsdecode(b"\xff.yaml")).write_text("")
    mistakes = find_mistakes(small)[1]
    assert {mistake.file for mistake in mistakes} == {"gitops/orgs/\\udcff.yaml"}
    assert all(str(mistake).encode() for mistake in mistakes)


def test_a_folder_where_a_file_belongs_is_a_mistake(small: Path) -> None:
    (small / ORG).unlink()
    (small / ORG).mkdir()
    assert only(small).startswith("gitops/orgs/acme.yaml:1:1: the file cannot be read: Is a directory")


def test_a_value_of_control_characters_is_shown_escaped(small: Path) -> None:
    (small / ORG).write_text((small / ORG).read_text().replace("us", '"\\e[2J\\0"'))
    assert r"'\x1b[2J\x00' is not one of the choices" in only(small)


BOMBS: dict[str, Callable[[], str]] = {
    "aliases": lambda: (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        )
    ),
    "lists-in-lists": lambda: "a: " + "[" * 500_000,
    "mappings-in-mappings": lambda: "a: " + "{a: " * 200_000,
    "lists-in-blocks": lambda: "- " * 500_000,
    "keys-in-keys": lambda: "? " * 500_000,
    "many-values": lambda: "a: [" + "1," * 500_000 + "]",
    "many-keys": lambda: "".join(f"k{number}: 1\n" for number in range(80_000)),
    "many-unknown-fields": lambda: "spec:\n" + "".join(f"  k{number}: 1\n" for number in range(20_000)),
    "many-wrong-items": lambda: "spec:\n  contacts: [" + "1, " * 20_000 + "]",
    "many-repeated-items": lambda: "spec:\n  contacts: [" + "a@b, " * 20_000 + "]",
    "many-wrong-names": lambda: "spec:\n  entitlements:\n" + "".join(f"    K{number}: 1\n" for number in range(20_000)),
    "many-mixed-items": lambda: "spec:\n  contacts: [" + "1, a, {b: 1}, " * 10_000 + "]",
    "many-unknown-products": lambda: (
        "apiVersion: apx.dev/v1\nkind: Org\nmetadata: {name: acme}\n"
        "spec:\n  title: A\n  region: us\n  contacts: [a@b]\n  entitlements:\n"
        + "".join(f"    order{number}: free\n" for number in range(24_000))
    ),
    "one-long-value": lambda: "spec:\n  title: " + " x" * 500_000,
    "one-long-key": lambda: "k" * 1_000_000 + ": 1",
    "one-long-number": lambda: "spec:\n  title: " + "9" * 1_000_000,
    "one-long-fraction": lambda: "spec:\n  title: 1." + "9" * 1_000_000,
    "one-long-comment": lambda: "#" * 1_000_000,
    "many-comments": lambda: "#\n" * 500_000,
    "many-documents": lambda: "---\n" * 250_000,
    "many-quotes": lambda: "a: '" + "''" * 400_000 + "'",
    "many-escapes": lambda: 'a: "' + "\\n" * 400_000 + '"',
    "many-blanks": lambda: "a:" + " " * 1_000_000 + "1",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_less_than_five_seconds(small: Path, name: str) -> None:
    (small / ORG).write_text("# yaml-language-server: $schema=../schemas/org.json\n" + BOMBS[name]())
    started = time.process_time()
    mistakes = find_mistakes(small)[1]
    assert time.process_time() - started < 5
    assert mistakes
    assert all(len(str(mistake)) < 1000 for mistake in mistakes)


def test_all_bombs_together_stay_under_512_megabytes(small: Path) -> None:
    for name, bomb in BOMBS.items():
        (small / "orgs" / f"{name}.yaml").write_text(bomb())
    os.truncate(small / ORG, 100 * 1024 * 1024)
    program = (
        "import re, sys, pathlib; from apx.catalog.load import find_mistakes\n"
        "assert find_mistakes(pathlib.Path(sys.argv[1]))[1]\n"
        # Not getrusage: its peak is inherited over fork and exec, here from the whole test run.
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', pathlib.Path('/proc/self/status').read_text())[1])"
    )
    run = subprocess.run([sys.executable, "-c", program, small], capture_output=True, text=True, timeout=60, check=True)
    assert int(run.stdout) < 512 * 1024
