"""`apx policy diff` and `replay`: on a real repository, with the example's own policies."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apx.cli.impact import Impact, ProductImpact
from apx.cli.impact_markdown import MOST_BYTES, markdown
from apx.cli.impact_text import lines
from apx.cli.main import main
from apx.policy.decision import Decision
from apx.policy.replay import Example, Outcome, Replayed
from apx.policy.sample import Sample, line_of, sample_of
from apx.release.diff import Danger, Line
from tests.unit.cli.ran import Ran, Run

GITOPS = Path(__file__).parents[3] / "gitops"
KEPT = "orders"
AN_OLDER = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all: what was compiled and tested before is in its cache."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def gitops(tmp_path: Path) -> Path:
    """Make a repository that holds the example with `orders` alone, committed as `main`."""
    tree = tmp_path / "repository" / "gitops"
    shutil.copytree(GITOPS, tree)
    for kind in ("products", "policies/products"):
        for folder in (tree / kind).iterdir():
            if folder.name != KEPT:
                shutil.rmtree(folder)
    for org in (tree / "orgs").glob("*.yaml"):
        org.write_text(re.sub(r"\n    (?!orders)[a-z-]+: [a-z]+(?=\n)", "", org.read_text()))
    git(tree.parent, "init", "--quiet", "--initial-branch=main")
    commit(tree, "first")
    return tree


@pytest.fixture
def run(home: Path, gitops: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("APX_HOME", str(home))
    monkeypatch.setenv("APX_GITOPS", str(gitops))

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["apx", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


def git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *settings, *words], cwd=folder, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def commit(gitops: Path, message: str) -> str:
    git(gitops, "add", "--all")
    git(gitops, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(gitops, "rev-parse", "HEAD")


def edit(gitops: Path, name: str, old: str, new: str) -> None:
    path = gitops / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def order(amount: float, *, org: str = "acme", release: str = AN_OLDER, reason: str = "ok", **request: Any) -> Sample:
    shown = {"method": "POST", "route": "/", "path": "/", "params": {}, "query": {}, "headers": {}, "client_ip": ""}
    document = {
        "org": org,
        "region": "us",
        "product": "orders",
        "plan": "enterprise",
        "key": {"id": "key_1"},
        "request": shown | request,
        "body": {"amount_usd": amount},
    }
    decision = Decision(allow=reason == "ok", reason=reason)
    made = sample_of(1_700_000_000_000, "orders", release, json.dumps(document).encode(), decision)
    assert made is not None
    return made


def write(path: Path, *samples: Sample) -> str:
    path.write_bytes(b"".join(map(line_of, samples)))
    return str(path)


def tighten(gitops: Path) -> None:
    edit(gitops, "policies/lib/plans/data.json", '"order_usd": 1000000', '"order_usd": 15000')


def test_a_change_that_denies_more_is_counted_by_org(run: Run, gitops: Path, tmp_path: Path) -> None:
    tighten(gitops)
    commit(gitops, "second")
    sample = write(tmp_path / "s.jsonl", order(10), order(20_000), order(30_000, org="globex"))
    ran = run("policy", "diff", "main~1", "main", "--sample", sample, "--json")
    assert ran.code == 2
    (product,) = ran.json["products"]
    assert (ran.json["flips"], product["replayed"]["changes"]) == (2, {"newly-denied": 2})
    assert product["replayed"]["by_org"] == {"acme": {"newly-denied": 1}, "globex": {"newly-denied": 1}}
    assert product["lines"] == [{"danger": "risks", "text": "data lib.plans.enterprise.order_usd 1000000 -> 15000"}]
    assert product["replayed"]["examples"][0]["after"]["reason"] == "order-too-large"


def test_the_working_tree_and_the_index_are_left_alone(run: Run, gitops: Path, tmp_path: Path) -> None:
    tighten(gitops)
    before = git(gitops, "status", "--porcelain")
    ran = run("policy", "diff", "main", str(gitops), "--sample", write(tmp_path / "s.jsonl", order(20_000)))
    assert ran.code == 2
    assert "allow → deny: acme POST /: allow ok → deny order-too-large" in ran.out
    assert git(gitops, "status", "--porcelain") == before
    assert git(gitops, "worktree", "list").count("\n") == 0


def test_a_change_that_flips_nothing_exits_0(run: Run, gitops: Path, tmp_path: Path) -> None:
    edit(gitops, "plans/free.yaml", "per_second: 5\n    burst: 10", "per_second: 2\n    burst: 4")
    ran = run("policy", "diff", "main", str(gitops), "--sample", write(tmp_path / "s.jsonl", order(10)))
    assert ran.code == 0
    assert "plan free: rate 5/s burst 10 -> 2/s burst 4" in ran.out
    assert "0 requests of 1 recorded would be answered otherwise" in ran.out


def test_what_does_not_differ_is_said_to_be_unchanged(run: Run) -> None:
    ran = run("policy", "diff", "main", "HEAD")
    assert ran.code == 0
    assert "No product differs between main" in ran.out


def test_without_recorded_inputs_it_says_that_nothing_is_known(run: Run, gitops: Path) -> None:
    tighten(gitops)
    ran = run("policy", "diff", "main", str(gitops))
    assert ran.code == 0
    assert "nothing is known of decisions of orders" in ran.out
    assert "no recorded inputs" in ran.out


def test_requests_that_lose_their_route_exit_2(run: Run, gitops: Path, tmp_path: Path) -> None:
    edit(gitops, "products/orders/product.yaml", "    - path: /{order_id}\n", "    - path: /one/{order_id}\n")
    lost = order(1, method="GET", route="/{order_id}", path="/7", params={"order_id": "7"})
    ran = run("policy", "diff", "main", str(gitops), "--sample", write(tmp_path / "s.jsonl", lost, order(10)))
    assert ran.code == 2
    assert "1 no route any more" in ran.out
    assert "breaks   route /{order_id} removed (DELETE, GET, PUT)" in ran.out


def test_a_product_that_is_gone_or_new_says_so(run: Run, gitops: Path, tmp_path: Path) -> None:
    shutil.copytree(gitops / "products" / "orders", gitops / "products" / "returns")
    edit(gitops, "products/returns/product.yaml", "name: orders", "name: returns")
    edit(gitops, "products/returns/product.yaml", "base_path: /orders", "base_path: /returns")
    with_both = commit(gitops, "second")
    shutil.rmtree(gitops / "products" / "returns")
    sample = write(tmp_path / "s.jsonl", order(10))
    new = run("policy", "diff", "main~1", with_both[:10], "--sample", sample)
    assert (new.code, "returns is new: nobody calls it yet" in new.out) == (0, True)
    gone = run("policy", "diff", with_both, str(gitops), "--sample", sample)
    assert (gone.code, "returns is gone: every request to it is answered 404" in gone.out) == (0, True)
    write(tmp_path / "s.jsonl", msgspec.structs.replace(order(10), product="returns"))
    called = run("policy", "diff", with_both, str(gitops), "--sample", sample)
    assert (called.code, "1 no route any more" in called.out) == (2, True)


def test_a_head_that_is_wrong_exits_1_and_says_where(run: Run, gitops: Path) -> None:
    edit(gitops, "policies/products/orders/policy.rego", "amount > plan.order_usd", "amount >")
    broken = commit(gitops, "second")
    ran = run("policy", "diff", "main~1", broken)
    assert (ran.code, ran.out) == (1, "")
    assert f"{broken}:gitops/policies/products/orders/policy.rego:" in ran.err
    edit(gitops, "plans/free.yaml", "per_second: 5", "per_second: -5")
    ran = run("policy", "diff", "main~1", str(gitops))
    assert (ran.code, "per_second" in ran.err) == (1, True)
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "name", ["no-such", "", "sha256:00", "--output=x", "main:gitops", "main\0", "x" * 5000, "HEAD@{9}"]
)
def test_a_name_that_stands_for_nothing_exits_1(run: Run, name: str) -> None:
    ran = run("policy", "diff", "main", "--", name) if name.startswith("-") else run("policy", "diff", "main", name)
    assert ran.code == 1
    assert "neither a folder with a gitops tree, nor a stored release, nor a commit" in ran.err


@pytest.mark.parametrize(
    "content",
    [b"x" * 200_000, b"\xff\xfe\n\n\n", b"[" * 70_000, b'{"at_ms":1}\n' * 3, b"null", b'{"a":' * 9_000],
    ids=["huge", "not-utf8", "deep", "wrong", "null", "deep-objects"],
)
def test_no_sample_file_is_an_error(run: Run, gitops: Path, tmp_path: Path, content: bytes) -> None:
    tighten(gitops)
    path = tmp_path / "s.jsonl"
    path.write_bytes(content + b"\n" + line_of(order(20_000)))
    ran = run("policy", "diff", "main", str(gitops), "--sample", str(path))
    assert ran.code == 2
    assert "could not be read and" in ran.out
    assert "Traceback" not in ran.err


def test_a_sample_file_that_is_not_there_exits_1(run: Run, tmp_path: Path) -> None:
    ran = run("policy", "replay", "main", "--sample", str(tmp_path / "none.jsonl"))
    assert (ran.code, "none.jsonl" in ran.err) == (1, True)


def test_a_release_is_compared_and_replayed_by_its_first_digits(run: Run, gitops: Path, tmp_path: Path) -> None:
    digest = run("release", "build", "--json").json[0]["digest"]
    sample = write(tmp_path / "s.jsonl", order(10, release=digest), order(20_000, release=digest, reason="masked"))
    again = run("policy", "replay", digest[7:19], "--sample", sample, "--json")
    assert (again.code, again.json["products"][0]["replayed"]["changes"]) == (2, {"newly-allowed": 1})
    tighten(gitops)
    ran = run("policy", "diff", digest, str(gitops), "--sample", sample)
    assert ran.code == 0
    assert "1 input not counted: masked where it mattered, or the policy failed (1 of them differ" in ran.out


def test_a_tree_has_the_digest_of_its_release(run: Run, gitops: Path, tmp_path: Path) -> None:
    digest = run("release", "build", "--json").json[0]["digest"]
    tighten(gitops)
    ran = run("policy", "diff", "main", str(gitops), "--sample", write(tmp_path / "s.jsonl", order(1)), "--json")
    assert ran.json["products"][0]["before"] == digest


def test_inputs_of_this_home_are_taken_without_a_file(run: Run, gitops: Path, home: Path) -> None:
    tighten(gitops)
    (home / "samples").mkdir()
    write(home / "samples" / "orders.1.jsonl", order(20_000))
    try:
        assert run("policy", "diff", "main", str(gitops)).code == 2
    finally:
        shutil.rmtree(home / "samples")


HOSTILE = (
    "`|<img src=x onerror=alert(1)>\n\n# @everyone ![x](https://evil.example) </details> ``` "
    "www.evil.example #1 \x1b[2J\u202e"
)


def hostile() -> Impact:
    decision = Decision(allow=True, reason="ok", headers={"x-a": HOSTILE})
    sample = order(1, org=HOSTILE, method=HOSTILE, route=HOSTILE, path=HOSTILE)
    before = Outcome(allow=True, reason="ok", decision=decision)
    after = Outcome(allow=False, reason=HOSTILE)
    replayed = Replayed(
        inputs=1,
        compared=1,
        unchanged=0,
        changes={"newly-denied": 1},
        by_org={f"{HOSTILE}{at}": {"newly-denied": 1} for at in range(500)},
        by_route={HOSTILE: {"newly-denied": 1}},
        policy_failures=0,
        not_reproduced=0,
        not_reproduced_but_differ=0,
        not_tried=0,
        other_releases=0,
        examples=(Example(kind="newly-denied", sample=sample, before=before, after=after),) * 50,
    )
    one = ProductImpact(
        product="orders",
        status="changed",
        before=None,
        after=None,
        lines=[Line(Danger.RISKS, f"data {HOSTILE}")] * 500,
        replayed=replayed,
    )
    return Impact(before=HOSTILE, after=HOSTILE, products=[one] * 20, unchanged=[], passed_over=1)


def test_nothing_of_a_client_becomes_markdown_or_html() -> None:
    text = markdown(hostile())
    prose = re.sub(r"\n(`{3,})json\n.*?\n\1\n", "\n", text, flags=re.DOTALL)
    assert set(re.findall(r"</?[a-z]+", prose)) <= {"<code", "</code", "<details", "</details", "<summary", "</summary"}
    assert "`" not in prose.replace("`apx policy diff`", "").replace("`--json`", "")
    assert not re.search(r"@everyone|https://|www\.|!\[|#1\b|\x1b|\u202e", prose)
    rows = [line for line in prose.split("\n") if line.startswith("|")]
    assert {line.count("|") for line in rows} == {3}
    assert prose.count("<details>") == prose.count("</details>") > 0


def test_a_document_cannot_end_its_fence() -> None:
    text = markdown(hostile())
    fences = re.findall(r"^`{3,}.*$", text, flags=re.MULTILINE)
    assert fences
    assert all(one in ("````json", "````") for one in fences)


def test_a_comment_stays_short_and_begins_with_its_summary() -> None:
    text = markdown(hostile())
    assert len(text.encode()) <= MOST_BYTES
    assert text.startswith("**20 products changed")
    assert "is cut here" in text


def test_a_terminal_is_not_moved_about() -> None:
    assert all(line.isprintable() for line in lines(hostile()))
