"""Real repositories for the tests of `GitHost`, and the few endpoints of GitHub's API over one of them."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

TOKEN = "ghp_canary0123456789abcdefghijklmnop"
OWNER = "example"
NAME = f"{OWNER}/products"
_ENV = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{
        f"GIT_{who}_{what}": f"{what.lower()}@localhost"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}


class Repository:
    """A Git repository that tests look into and change by plumbing."""

    def __init__(self, folder: Path, *, bare: bool = True) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", *(("--bare",) if bare else ()))

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            input=stdin,
            capture_output=True,
            env=_ENV,
            timeout=20,
            check=False,
        )
        if done.returncode:
            raise ValueError(done.stderr.decode())
        return done.stdout.decode().strip()

    def commit(self, files: Mapping[str, str], branch: str = "main") -> str:
        """Put a commit of these files, and no others, on a branch, and return its id."""
        tip = self.tip(branch)
        parents = ("-p", tip) if tip else ()
        commit = self.git("commit-tree", *parents, "-m", f"{len(files)} files", self.tree(files))
        self.git("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def tree(self, files: Mapping[str, str]) -> str:
        here: dict[str, str] = {}
        below: dict[str, dict[str, str]] = {}
        for path, text in files.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = text
            else:
                here[name] = self.git("hash-object", "-w", "--stdin", stdin=text.encode())
        lines = [f"100644 blob {blob}\t{name}" for name, blob in here.items()]
        lines += [f"040000 tree {self.tree(inner)}\t{name}" for name, inner in below.items()]
        return self.git("mktree", stdin="".join(f"{line}\n" for line in lines).encode())

    def files(self, commit: str) -> dict[str, str]:
        listed = self.git("ls-tree", "-r", commit).splitlines()
        entries = (line.split("\t", 1) for line in listed)
        return {path: self.git("cat-file", "blob", entry.split()[2]) for entry, path in entries}

    def tip(self, branch: str) -> str:
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")


class Pull(msgspec.Struct):
    number: int
    head: str
    title: str
    body: str
    state: str = "open"
    merged_at: str | None = None
    labels: list[str] = []


class Refusal(Exception):
    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


Fault = Callable[[str, str], None]
"""Given a request's method and path: raises `Refusal`, or `ConnectionResetError`, or waits, or does nothing."""


class GitHubServer:
    """What GitHub answers, for one repository."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.pulls: list[Pull] = []
        self.asked: list[str] = []
        self.fault: Fault = lambda _method, _path: None
        self._lock = threading.RLock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: two would wait for each other

            def do_GET(self) -> None:
                outer.handle(self, "GET")

            def do_POST(self) -> None:
                outer.handle(self, "POST")

            def do_PATCH(self) -> None:
                outer.handle(self, "PATCH")

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def handle(self, request: BaseHTTPRequestHandler, method: str) -> None:
        sent = request.rfile.read(int(request.headers.get("content-length") or 0))
        url = urlsplit(request.path)
        path, query = unquote(url.path), {name: values[0] for name, values in parse_qs(url.query).items()}
        headers: Mapping[str, str] = {}
        try:
            _check_token(request.headers.get("authorization", ""))
            self.asked.append(f"{method} {path}")
            self.fault(method, path)
            with self._lock:
                status, body = self._answer(method, path, query, json.loads(sent) if sent else {})
        except Refusal as refusal:
            status, body, headers = refusal.status, refusal.body, refusal.headers
        except ConnectionResetError:
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close_connection = True
            return
        content = json.dumps(body).encode()
        try:
            request.send_response(status)
            for name, value in {
                **headers,
                "content-type": "application/json",
                "content-length": str(len(content)),
            }.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(content)
        except OSError:
            request.close_connection = True  # who asked has gone

    def _answer(self, method: str, path: str, query: Mapping[str, str], sent: Any) -> tuple[int, Any]:
        prefix = f"/repos/{NAME}"
        if not path.startswith(f"{prefix}/"):
            raise Refusal(404, {"message": "Not Found"})
        for verb, pattern, answer in self._endpoints():
            match = re.fullmatch(pattern, path.removeprefix(prefix))
            if match and verb == method:
                return answer(match, query, sent)
        raise AssertionError(f"{method} {path} is no endpoint of this server")

    def _endpoints(
        self,
    ) -> Iterator[tuple[str, str, Callable[[re.Match[str], Mapping[str, str], Any], tuple[int, Any]]]]:
        yield "GET", r"/git/ref/heads/(.+)", lambda m, _q, _s: (200, self._ref(m[1]))
        yield "GET", r"/git/commits/([0-9a-f]+)", lambda m, _q, _s: (200, self._commit(m[1]))
        yield "GET", r"/git/trees/([0-9a-f]+)", lambda m, _q, _s: (200, self._tree(m[1]))
        yield "POST", r"/git/trees", lambda _m, _q, s: (201, self._make_tree(s))
        yield "POST", r"/git/commits", lambda _m, _q, s: (201, self._make_commit(s))
        yield "POST", r"/git/refs", lambda _m, _q, s: (201, self._make_ref(s))
        yield "PATCH", r"/git/refs/heads/(.+)", lambda m, _q, s: (200, self._move_ref(m[1], s))
        yield "GET", r"/pulls", lambda _m, q, _s: (200, self._find_pulls(q))
        yield "POST", r"/pulls", lambda _m, _q, s: (201, self._make_pull(s))
        yield "POST", r"/issues/(\d+)/labels", lambda m, _q, s: (200, self._label(int(m[1]), s))

    def _ref(self, branch: str) -> Any:
        tip = self.repository.tip(branch)
        if not tip:
            raise Refusal(404, {"message": "Not Found"})
        base = f"{self.url}/repos/{NAME}/git"
        return {
            "ref": f"refs/heads/{branch}",
            "url": f"{base}/refs/heads/{branch}",
            "object": {"type": "commit", "sha": tip, "url": f"{base}/commits/{tip}"},
        }

    def _commit(self, commit: str) -> Any:
        try:
            tree, *parents = self.repository.git("show", "-s", "--format=%T %P", commit, "--").split()
        except ValueError:
            raise Refusal(404, {"message": "Not Found"}) from None
        url = f"{self.url}/repos/{NAME}/git/commits"
        return {
            "sha": commit,
            "url": f"{url}/{commit}",
            "tree": {"sha": tree},
            "parents": [{"sha": parent, "url": f"{url}/{parent}"} for parent in parents],
        }

    def _tree(self, tree: str) -> Any:
        entries = []
        for line in self.repository.git("ls-tree", tree).splitlines():
            entry, name = line.split("\t", 1)
            mode, kind, sha = entry.split()
            entries.append({"path": name, "mode": mode, "type": kind, "sha": sha})
        return {"sha": tree, "tree": entries, "truncated": False}

    def _make_tree(self, sent: Any) -> Any:
        assert "base_tree" not in sent
        lines = [f"{e['mode']} {e['type']} {e['sha']}\t{e['path']}\n" for e in sent["tree"]]
        return self._tree(self.repository.git("mktree", stdin="".join(lines).encode()))

    def _make_commit(self, sent: Any) -> Any:
        parents = [word for parent in sent["parents"] for word in ("-p", parent)]
        made = self.repository.git("commit-tree", *parents, "-F", "-", sent["tree"], stdin=sent["message"].encode())
        return self._commit(made)

    def _make_ref(self, sent: Any) -> Any:
        branch = sent["ref"].removeprefix("refs/heads/")
        if self.repository.tip(branch):
            raise Refusal(422, {"message": "Reference already exists"})
        self.repository.git("update-ref", sent["ref"], sent["sha"])
        return self._ref(branch)

    def _move_ref(self, branch: str, sent: Any) -> Any:
        assert branch.startswith("apx/")
        self.repository.git("update-ref", f"refs/heads/{branch}", sent["sha"])
        return self._ref(branch)

    def _find_pulls(self, query: Mapping[str, str]) -> Any:
        assert query["base"] == "main"
        self._notice_merges()
        wanted = [pull for pull in self.pulls if f"{OWNER}:{pull.head}" == query["head"]]
        return [self._pull(pull) for pull in reversed(wanted) if query["state"] in ("all", pull.state)]

    def _notice_merges(self) -> None:
        """Close what the main branch holds already, as GitHub does."""
        for pull in self.pulls:
            merged = self.repository.git("branch", "--list", "main", "--contains", self.repository.tip(pull.head))
            if pull.state == "open" and merged:
                pull.state, pull.merged_at = "closed", "2026-01-02T03:04:05Z"

    def _make_pull(self, sent: Any) -> Any:
        if any(pull.head == sent["head"] and pull.state == "open" for pull in self.pulls):
            message = f"A pull request already exists for {OWNER}:{sent['head']}."
            errors = [{"resource": "PullRequest", "code": "custom", "message": message}]
            raise Refusal(422, {"message": "Validation Failed", "errors": errors})
        self.pulls.append(Pull(len(self.pulls) + 1, sent["head"], sent["title"], sent["body"], labels=[]))
        return self._pull(self.pulls[-1])

    def _pull(self, pull: Pull) -> Any:
        return {
            "number": pull.number,
            "state": pull.state,
            "merged_at": pull.merged_at,
            "title": pull.title,
            "body": pull.body,
            "url": f"{self.url}/repos/{NAME}/pulls/{pull.number}",
            "issue_url": f"{self.url}/repos/{NAME}/issues/{pull.number}",
            "html_url": f"https://github.example/{NAME}/pull/{pull.number}",
            "head": {"ref": pull.head, "sha": self.repository.tip(pull.head)},
            "labels": [{"name": name} for name in pull.labels],
        }

    def _label(self, number: int, sent: Any) -> Any:
        pull = self.pulls[number - 1]
        pull.labels += sent["labels"] if isinstance(sent, dict) else sent
        return [{"name": name} for name in pull.labels]


def _check_token(authorization: str) -> None:
    if authorization not in (f"token {TOKEN}", f"Bearer {TOKEN}"):
        raise Refusal(401, {"message": "Bad credentials"})


def slow(seconds: float) -> Fault:
    """Return a server that takes its time: `seconds` or until the one who asked has gone."""
    return lambda _method, _path: time.sleep(seconds)
