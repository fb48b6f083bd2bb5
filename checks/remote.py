"""Rollouts through a control API elsewhere: `python -m checks.remote URL COMMIT`.

Builds the tree's releases into the store, gives its orgs their terms, starts the releases that are not live, and waits
until each rollout has ended. Exits 0 when all were promoted, 2 when one was not, 1 when it could not be tried or waited
for to the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec

from apx.admission.orgs import terms_of
from apx.catalog.load import load_catalog
from apx.errors import ApxError, Conflict, Unavailable

ROOT = Path(__file__).resolve().parents[1]
APX = str(Path(sys.executable).with_name("apx"))
WAIT_S = 3 * 3600.0
LOOK_EVERY_S = 10.0
MOST_FAILURES = 30
"""Looks in a row without an answer, after which it cannot be waited for."""
TIMEOUT_S = 30.0
PROMOTED = "promoted"
NOT_PROMOTED = 2

Call = Callable[[str, str, object], Any]
"""Calls the control API: method, path, body (None: none); returns its JSON. Raises an `ApxError`."""


class Release(msgspec.Struct, frozen=True):
    """One release that the tree says."""

    product: str
    digest: str


def control(url: str, token: Callable[[], str]) -> Call:
    """Return what calls the control API at `url`, with a token asked for at each call."""

    def call(method: str, path: str, body: object) -> Any:
        request = Request(f"{url}/api/v1{path}", method=method)  # noqa: S310 -- https, checked below
        request.add_header("authorization", f"Bearer {token()}")
        content = None
        if body is not None:
            request.add_header("content-type", "application/json")
            content = json.dumps(body).encode()
        try:
            with urlopen(request, content, timeout=TIMEOUT_S) as answer:  # noqa: S310 -- as above
                return json.load(answer)
        except HTTPError as error:
            said = f"{method} {path}: {error.code}: {error.read(500).decode(errors='replace')}"
            raise (Unavailable if error.code >= 500 else Conflict)(said) from None  # noqa: PLR2004 -- HTTP
        except (OSError, ValueError) as error:
            raise Unavailable(f"{method} {path}: {error}") from None

    return call


def wanted(releases: Sequence[Release], live: Sequence[Mapping[str, Any]]) -> list[Release]:
    """Return the releases that neither serve nor are about to."""
    known = {one["product"]: {one["stable"], one["candidate"]} for one in live}
    return [one for one in releases if one.digest not in known.get(one.product, set())]


def apply_terms(call: Call, tree: Path) -> None:
    """Give the tree's orgs their terms, by one call; where they have them already, nothing changes."""
    terms = {name: msgspec.to_builtins(terms) for name, terms in map(terms_of, load_catalog(tree).orgs.values())}
    for one in call("PUT", "/orgs", {"terms": terms}):
        if one["changed"]:
            _say(f"{one['org']}: new terms")


def start(call: Call, releases: Sequence[Release], commit: str) -> list[Release]:
    """Start rollouts; return those to wait for. Raises `Conflict` with the reasons when one was refused."""
    asked = {
        "releases": [{"digest": one.digest, "commit": commit} for one in releases],
        "why": f"merged as {commit[:12]}",
    }
    started = call("POST", "/rollouts", asked)
    for one in started:
        _say(f"{one['product']}: {one['outcome']} {one.get('reason', '')}".strip())
    if refused := [f"{one['product']}: {one['reason']}" for one in started if one["outcome"] == "refused"]:
        raise Conflict("; ".join(refused))
    moving = {one["digest"] for one in started if one["outcome"] in ("started", "waiting", "under-way")}
    return [one for one in releases if one.digest in moving]


def wait(call: Call, releases: Sequence[Release], *, sleep: Callable[[float], None], within_s: float = WAIT_S) -> int:
    """Look until every rollout has ended; return 0, 2 as soon as one ended otherwise. Raises `Unavailable`."""
    left, failures = list(releases), 0
    for _ in range(int(within_s / LOOK_EVERY_S) + 1):
        try:
            ends = {one: _end(call, one) for one in left}
            failures = 0
        except Unavailable as error:
            failures += 1
            if failures > MOST_FAILURES:
                raise
            _say(f"looking again: {error}")
            ends = {}
        for one, end in ends.items():
            if end:
                _say(f"{one.product}: {end}")
        if any(end not in ("", PROMOTED) for end in ends.values()):
            return NOT_PROMOTED
        left = [one for one in left if ends.get(one, "") == ""]
        if not left:
            return 0
        sleep(LOOK_EVERY_S)
    raise Unavailable(f"after {within_s:g} s these have not ended: {', '.join(one.product for one in left)}")


def _end(call: Call, release: Release) -> str:
    """Return the state in which a release's rollout ended; empty while it goes on."""
    record = call("GET", f"/rollouts/{release.product}", None)
    if record["stable"] == release.digest:
        return PROMOTED
    rollout, waiting = record["rollout"] or {}, record["waiting"] or {}
    if release.digest == waiting.get("candidate"):
        return ""
    if release.digest != rollout.get("candidate"):
        return "replaced by a newer release"
    return str(rollout["state"]) if rollout["state"] in ("aborted", "superseded") else ""


def build() -> list[Release]:
    """Build, sign and store the tree's releases. Raises `Unavailable` with what the build said."""
    done = subprocess.run([APX, "release", "build", "--json"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 -- ours
    if done.returncode:
        raise Unavailable(f"`apx release build` ended with {done.returncode}: {done.stderr.strip()}")
    return [Release(one["product"], one["digest"]) for one in json.loads(done.stdout)]


def main(arguments: Sequence[str]) -> int:
    """Promote a commit through the control API at a URL."""
    if len(arguments) != 2 or not arguments[0].startswith("https://"):  # noqa: PLR2004 -- a URL and a commit
        sys.stderr.write("remote needs the control API's address (https://…) and the commit that is checked out\n")
        return 1
    url, commit = arguments[0].rstrip("/"), arguments[1]
    call = control(url, lambda: _token(url))
    try:
        built = build()
        apply_terms(call, ROOT / os.environ.get("APX_GITOPS", "gitops"))
        releases = wanted(built, call("GET", "/status", None))
        if not releases:
            _say("every release of the tree serves, or is about to")
            return 0
        return wait(call, start(call, releases, commit), sleep=time.sleep)
    except ApxError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _token(url: str) -> str:
    if given := os.environ.get("APX_CONTROL_TOKEN"):
        return given
    from apx.backends.gcp.iap import token_for  # noqa: PLC0415 -- Google's clients, which only this needs

    return token_for(url)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
