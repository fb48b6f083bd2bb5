"""Promotion through a control API, played by a scripted one."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from apx.errors import Conflict, Unavailable
from checks.promotion import sequence
from checks.remote import MOST_FAILURES, NOT_PROMOTED, ROOT, Release, apply_terms, control, main, start, wait, wanted

COMMIT = "a" * 40
ORDERS, EXPORTS = Release("orders", "sha256:new"), Release("exports", "sha256:e")


class Api:
    """Answers what it was told, each path its next answer, the last one for ever."""

    def __init__(self, **answers: list[Any]) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.slept: list[float] = []
        self._answers = answers

    def call(self, method: str, path: str, body: object) -> Any:
        self.asked.append((method, path, body))
        answers = self._answers[path.rpartition("/")[2]]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self, *releases: Release, within_s: float = 100.0) -> int:
        return wait(self.call, releases, sleep=self.slept.append, within_s=within_s)


def record(stable: str = "sha256:old", state: str = "canary", candidate: str = "sha256:new") -> dict[str, Any]:
    return {"stable": stable, "rollout": {"state": state, "candidate": candidate}, "waiting": None}


def test_what_serves_or_is_about_to_is_not_started() -> None:
    live: list[dict[str, Any]] = [
        {"product": "orders", "stable": "sha256:old", "candidate": "sha256:new"},
        {"product": "exports", "stable": "sha256:e", "candidate": None},
    ]
    new = Release("fresh", "sha256:f")
    assert wanted([ORDERS, EXPORTS, new, Release("orders", "sha256:x")], live) == [
        new,
        Release("orders", "sha256:x"),
    ]


def test_the_orgs_of_the_tree_get_their_terms_in_one_call(capsys: pytest.CaptureFixture[str]) -> None:
    api = Api(orgs=[[{"org": "acme", "changed": True}, {"org": "globex", "changed": False}]])
    apply_terms(api.call, ROOT / "gitops")
    [(method, path, body)] = api.asked
    assert (method, path) == ("PUT", "/orgs")
    assert body["terms"]["globex"]["timezone"] == "Europe/Berlin"
    assert capsys.readouterr().out == "acme: new terms\n"


def test_a_wave_is_started_in_one_call_with_its_commit() -> None:
    outcomes = [{"product": "orders", "digest": "sha256:new", "outcome": "started"}]
    outcomes += [{"product": "exports", "digest": "sha256:e", "outcome": "activated"}]
    api = Api(rollouts=[outcomes])
    assert start(api.call, [ORDERS, EXPORTS], COMMIT) == [ORDERS]
    [(method, path, body)] = api.asked
    assert (method, path) == ("POST", "/rollouts")
    assert isinstance(body, dict)
    assert body["releases"][0] == {"digest": "sha256:new", "commit": COMMIT}


def test_a_refusal_is_told_with_its_reason() -> None:
    api = Api(rollouts=[[{"product": "orders", "digest": "d", "outcome": "refused", "reason": "a freeze"}]])
    with pytest.raises(Conflict, match="orders: a freeze"):
        start(api.call, [ORDERS], COMMIT)


def test_a_promotion_is_waited_for() -> None:
    api = Api(orders=[record(), record(), record(stable="sha256:new", state="promoted")])
    assert api.wait(ORDERS) == 0
    assert len(api.slept) == 2


@pytest.mark.parametrize("end", [record(state="aborted"), record(state="superseded"), record(candidate="sha256:newer")])
def test_any_other_end_is_no_promotion(end: dict[str, Any]) -> None:
    assert Api(orders=[record(), end]).wait(ORDERS) == NOT_PROMOTED


def test_one_that_waits_its_turn_has_not_ended() -> None:
    waiting = {**record(candidate="sha256:before"), "waiting": {"candidate": "sha256:new"}}
    assert Api(orders=[waiting, record(stable="sha256:new", state="promoted")]).wait(ORDERS) == 0


def test_a_control_api_that_is_away_for_a_while_is_asked_again() -> None:
    away = [Unavailable("503")] * MOST_FAILURES
    assert Api(orders=[*away, record(stable="sha256:new")]).wait(ORDERS, within_s=10_000) == 0


def test_one_that_stays_away_is_an_error() -> None:
    with pytest.raises(Unavailable, match="503"):
        Api(orders=[Unavailable("503")]).wait(ORDERS, within_s=10_000)


def test_a_rollout_that_does_not_end_is_an_error() -> None:
    with pytest.raises(Unavailable, match="have not ended: orders"):
        Api(orders=[record(state="paused")]).wait(ORDERS)


@pytest.mark.parametrize("arguments", [[], [COMMIT], ["http://control", COMMIT], ["https://control"]])
def test_a_token_goes_nowhere_but_by_https(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert "https://" in capsys.readouterr().err


def test_with_a_control_api_only_releases_are_written_from_here() -> None:
    steps = dict(sequence(COMMIT, "merged", "https://control.example"))
    assert list(steps) == ["validate", "wait"]
    assert steps["wait"][2:] == ("checks.remote", "https://control.example", COMMIT)


@pytest.mark.parametrize(
    ("status", "error"), [(409, Conflict), (401, Conflict), (503, Unavailable)], ids=["409", "401", "503"]
)
def test_the_wire(status: int, error: type[Exception]) -> None:
    seen: list[tuple[str, str | None, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append((self.path, self.headers["authorization"], body))
            self.send_response(status if len(seen) > 1 else 200)
            self.end_headers()
            self.wfile.write(b'{"fine": true}')

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        call = control(f"http://127.0.0.1:{server.server_port}", lambda: "t")
        assert call("POST", "/rollouts", {"a": 1}) == {"fine": True}
        assert seen == [("/api/v1/rollouts", "Bearer t", {"a": 1})]
        with pytest.raises(error, match=str(status)):
            call("POST", "/rollouts", {})
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
