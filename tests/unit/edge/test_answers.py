from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.release.digest import short
from apx.rollout.counts import Counts, Tally, bucket
from services.edge.answerlog import FIELDS, TUNNEL
from services.edge.answers import MOST_AGE_S, Answer, Answers, read_line
from services.edge.tail import Tail
from tests.unit.edge.manifests import digest, manifest, served

NOW_S = 1_795_549_493.0
STABLE = manifest("forecast", url="http://a")
CANDIDATE = manifest("forecast", url="http://b")
STREAM = manifest("stream", streaming=True)
OF = {"forecast": STABLE, "stream": STREAM}


def _line(**said: object) -> bytes:
    usual = {
        "at_s": f"{NOW_S:.3f}",
        "type": "DownstreamEnd",
        "product": "forecast",
        "arm": "stable",
        "release": short(digest(OF[str(said.get("product", "forecast"))])),
        "org": "acme",
        "route": "forecast",
        "status": "200",
        "flags": "-",
        "grpc": "-",
        "answer_us": "20000",
        "connection_ms": "0",
        "gave_up_us": "25000",
    }
    assert list(usual) == list(FIELDS)
    return " ".join(str(value) for value in (usual | said).values()).encode()


def _read(**said: object) -> Answer:
    answer = read_line(_line(**said), NOW_S)
    assert answer is not None
    return answer


def _counted(*lines: bytes, now_s: float = NOW_S) -> dict[tuple[str, str, str], Counts]:
    tally = Tally()
    answers = Answers(tally)
    answers.serve(served((STABLE, CANDIDATE), STREAM))
    answers.count(lines, now_s)
    return {(product, *by): counts for product, all_by in tally.take().items() for by, counts in all_by.items()}


def test_an_answer_is_counted_for_its_release_and_org() -> None:
    [(by, counts)] = _counted(_line(), _line()).items()
    assert by == ("forecast", digest(STABLE), "acme")
    assert (counts.answers, counts.errors, counts.latency) == (2, 0, {bucket(0.02): 2})


def test_the_wait_for_a_connection_is_the_backends_time_and_the_clients_is_not() -> None:
    assert _read(answer_us="20000", connection_ms="30", gave_up_us="900000").latency_s == pytest.approx(0.05)


def test_without_an_answer_the_time_is_that_to_the_edges_own() -> None:
    answer = _read(status=504, flags="UT", answer_us="-", gave_up_us="301215")
    assert answer.failed
    assert answer.latency_s == pytest.approx(0.301215)


FAILED: dict[str, dict[str, object]] = {
    "500": {"status": 500},
    "no connection": {"status": 503, "flags": "UF", "answer_us": "-"},
    "more than it takes": {"status": 503, "flags": "UO", "answer_us": "-"},
    "cut off": {"status": 503, "flags": "UC", "answer_us": "-"},
    "nowhere": {"status": 503, "flags": "UH", "answer_us": "-", "gave_up_us": "-"},
    "several flags": {"status": 503, "flags": "UF,URX", "answer_us": "-"},
    "gRPC, unavailable": {"status": 200, "grpc": 14},
    "a candidate that is closed": {"arm": "candidate", "route": "forecast@candidate", "status": 503, "answer_us": "-"},
}


@pytest.mark.parametrize("name", FAILED)
def test_what_is_the_backends_fault_is_an_error(name: str) -> None:
    assert _read(**FAILED[name]).failed


@pytest.mark.parametrize("said", [{"status": 404}, {"status": 429}, {"status": 200, "grpc": 5}, {"flags": "DC"}])
def test_what_is_the_callers_fault_is_an_answer(said: dict[str, object]) -> None:
    assert not _read(**said).failed


NOTHING: dict[str, dict[str, object]] = {
    "the client left": {"status": 0, "flags": "DC", "answer_us": "-"},
    "a body that is too large": {"status": 413, "route": "edge-413", "answer_us": "-"},
    "a cluster of ours that was gone": {"status": 503, "flags": "NC", "answer_us": "-"},
    "an edge without memory": {"status": 503, "flags": "OM", "answer_us": "-"},
    "the stable backend for a candidate that is not known yet": {"arm": "candidate"},
    "the end of a WebSocket": {"status": 101},
    "long ago": {"at_s": NOW_S - MOST_AGE_S},
    "no status": {"status": "-"},
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_says_nothing_of_a_backend_is_not_counted(name: str) -> None:
    assert read_line(_line(**NOTHING[name]), NOW_S) is None


@pytest.mark.parametrize("line", [b"", b"-", b"\xff\x00", b" " * (len(FIELDS) - 1), _line() + b" more"])
def test_what_is_no_line_of_ours_is_passed_over(line: bytes) -> None:
    assert read_line(line, NOW_S) is None


def test_a_websocket_counts_when_it_opens() -> None:
    assert not _read(status=101, type=TUNNEL, gave_up_us="-").failed
    assert read_line(_line(status=101, flags="UC"), NOW_S) is None


def test_an_answer_that_breaks_off_is_an_error_but_not_where_there_are_streams() -> None:
    [whole] = _counted(_line(flags="UC")).values()
    [stream] = _counted(_line(flags="UC", product="stream", route="stream")).values()
    assert (whole.errors, stream.errors) == (1, 0)


def test_a_release_that_nobody_knows_is_not_counted() -> None:
    assert _counted(_line(release="0123456789ab"), _line(product="forecast", release=short(digest(STREAM)))) == {}


def test_a_release_that_was_served_just_now_is_still_known() -> None:
    tally = Tally()
    answers = Answers(tally)
    answers.serve(served((STABLE, CANDIDATE)))
    answers.serve(served(CANDIDATE))
    answers.count([_line()], NOW_S)
    assert list(tally.take()["forecast"]) == [(digest(STABLE), "acme")]
    answers.serve(served(STREAM))
    answers.count([_line()], NOW_S)
    assert tally.take() == {}


_SAID = st.fixed_dictionaries(
    {},
    optional={
        "product": st.sampled_from(sorted(OF)),
        "org": st.sampled_from(["acme", "globex"]),
        "status": st.sampled_from([0, 101, 200, 404, 500, 503]),
        "flags": st.sampled_from(["-", "DC", "UF,URX", "UT", "NC"]),
        "answer_us": st.one_of(st.just("-"), st.integers(0, 10**9)),
    },
)


@given(st.lists(_SAID, max_size=20), st.lists(st.integers(1, 200), max_size=30))
def test_any_cut_of_the_log_gives_the_same_counts(said: list[dict[str, object]], cuts: list[int]) -> None:
    lines = [_line(**one) for one in said]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.log"
        path.touch()
        tail, read = Tail(path), []
        left = b"".join(line + b"\n" for line in lines)
        tail.read()
        for cut in [*cuts, len(left)]:
            with path.open("ab") as file:
                file.write(left[:cut])
            left = left[cut:]
            read += tail.read()
        read += tail.read()
        tail.close()
    assert msgspec.json.encode(list(_counted(*read).values())) == msgspec.json.encode(list(_counted(*lines).values()))
