"""What one product must keep beyond fields, types and bounds."""

from __future__ import annotations

import re
from pathlib import Path as FilePath

import msgspec

from apx.catalog.findings import Findings
from apx.catalog.jwks import JwksRefused, check_jwks
from apx.catalog.mistakes import Path, did_you_mean, show
from apx.catalog.model import Jwt, ProductSpec
from apx.catalog.rollout_checks import check_rollout
from apx.catalog.templates import ambiguous, repeated_parameter
from apx.catalog.tree import FileRefused, Tree
from apx.catalog.urls import Url, UrlRefused, read_url

RESERVED_BASE_PATHS = ("v1", "healthz", "readyz", "metrics", "-", "api")
"""First segments that belong to APX itself."""

_SECRET_HEADER = re.compile(
    r"(proxy-)?authorization|(set-)?cookie2?|x-auth-.*|(.*-)?(password|passwd|secret|token|credentials?|(api|access|private)-?key)"
)
_RESERVED_HEADER = re.compile(
    r"connection|content-length|expect|forwarded|host|idempotency-key|keep-alive|proxy-.*|te|trailer|transfer-encoding"
    r"|upgrade|traceparent|tracestate|via|x-real-ip|x-request-id|x-(apx|envoy|forwarded)-.*"
)


def check_product(findings: Findings, spec: ProductSpec, tree: Tree, folder: FilePath) -> ProductSpec:
    """Note a product's mistakes; return its spec with the content of its key set filled in."""
    _check_base_path(findings, spec)
    _check_url(findings, ("spec", "backend", "url"), spec.backend.url, allow_private=spec.backend.allow_private)
    _check_mode(findings, spec)
    _check_cost(findings, spec)
    _check_times(findings, spec)
    _check_headers(findings, spec)
    _check_routes(findings, spec)
    check_rollout(findings, spec)
    if spec.policy.package not in tree.packages:
        package = spec.policy.package
        message = f"no file under policies/ declares '{package}'{did_you_mean(package, tree.packages)}"
        findings.add(("spec", "policy", "package"), "policy-unknown", message)
    if spec.auth.jwt is None:
        return spec
    return _with_key_set(findings, spec, spec.auth.jwt, tree, folder)


def _check_base_path(findings: Findings, spec: ProductSpec) -> None:
    first = spec.base_path.split("/")[1]
    if first in RESERVED_BASE_PATHS:
        message = f"'/{first}' belongs to APX itself: choose another base path"
        findings.add(("spec", "base_path"), "base-path-reserved", message)


def _check_url(findings: Findings, path: Path, text: str, *, allow_private: bool) -> Url | None:
    try:
        url = read_url(text)
    except UrlRefused as refused:
        # A password in an address must not get into a log.
        findings.add(path, refused.code, f"{refused}" if refused.code == "url-user" else f"{show(text)}: {refused}")
        return None
    if url.private and not allow_private:
        message = f"'{url.host}' is not a public address: use a public one, or set backend.allow_private: true"
        findings.add(path, "address-private", message)
    return url


def _check_mode(findings: Findings, spec: ProductSpec) -> None:
    if spec.mode == "async":
        return
    if findings.document.holds(("spec", "async")):
        findings.add(
            ("spec", "async"),
            "async-in-sync",
            "a sync product never queues: remove it, or set mode: async",
            at_key=True,
        )
    if spec.policy.body:
        message = "a sync product's bodies go past the policy: remove it, or set mode: async"
        findings.add(("spec", "policy", "body"), "body-in-sync", message)
    for field in ("usd_per_kib_request", "from", "on_failure"):
        path: Path = ("spec", "cost", field)
        if findings.document.holds(path):
            message = "a sync product's requests and answers go past the router: remove it, or set mode: async"
            findings.add(path, "cost-in-sync", message)


def _check_cost(findings: Findings, spec: ProductSpec) -> None:
    said = spec.cost.from_ if spec.cost is not None else None
    if said is not None and (said.header is None) == (said.json is None):
        given = "neither header nor json is given" if said.header is None else "both header and json are given"
        findings.add(("spec", "cost", "from"), "cost-source", f"{given}: give one of them", at_key=True)


def _check_times(findings: Findings, spec: ProductSpec) -> None:
    backend, retry = spec.backend, spec.backend.retry
    if backend.connect_timeout_s > backend.timeout_s:
        message = f"{backend.connect_timeout_s:g} is over backend.timeout_s {backend.timeout_s:g}: lower it"
        findings.add(("spec", "backend", "connect_timeout_s"), "connect-over-timeout", message)
    if retry.initial_backoff_s > retry.max_backoff_s:
        message = f"{retry.initial_backoff_s:g} is over retry.max_backoff_s {retry.max_backoff_s:g}: lower it"
        findings.add(("spec", "backend", "retry", "initial_backoff_s"), "backoff-over-max", message)
    per_org: Path = ("spec", "async", "concurrency_per_org")
    if spec.async_.concurrency_per_org > backend.concurrency and findings.document.holds(per_org):
        message = f"{spec.async_.concurrency_per_org} is over backend.concurrency {backend.concurrency}: lower it"
        findings.add(per_org, "concurrency-over-backend", message)
    longest = max(route.timeout_s or backend.timeout_s for route in spec.routes)
    if spec.mode == "async" and spec.async_.deadline_s < longest:
        message = (
            f"{spec.async_.deadline_s:g} is under the longest timeout {longest:g}, which no call could use: raise it"
        )
        findings.add(("spec", "async", "deadline_s"), "deadline-under-timeout", message)


def _check_headers(findings: Findings, spec: ProductSpec) -> None:
    for name in spec.backend.headers:
        path: Path = ("spec", "backend", "headers", name)
        if _SECRET_HEADER.fullmatch(name):
            message = "the name says that it holds a secret, and the whole team reads this file: remove it"
            findings.add(path, "header-secret", message, at_key=True)
        elif _RESERVED_HEADER.fullmatch(name):
            findings.add(path, "header-reserved", "APX or HTTP itself sets this header: remove it", at_key=True)
    for at, name in enumerate(spec.policy.headers):
        if _SECRET_HEADER.fullmatch(name):
            message = f"'{name}' holds a credential, which no policy is shown: remove it"
            findings.add(("spec", "policy", "headers", at), "header-secret", message)


def _check_routes(findings: Findings, spec: ProductSpec) -> None:
    for at, route in enumerate(spec.routes):
        name = repeated_parameter(route.path)
        if name:
            message = f"'{route.path}' names '{name}' twice: give each part its own name"
            findings.add(("spec", "routes", at, "path"), "route-parameter-twice", message)
    for at, earlier, method in ambiguous(spec.routes):
        message = (
            f"'{spec.routes[at].path}' takes what routes[{earlier}] '{spec.routes[earlier].path}' takes ({method}): "
            "remove one, or give them different methods"
        )
        findings.add(("spec", "routes", at, "path"), "route-ambiguous", message)


def _with_key_set(findings: Findings, spec: ProductSpec, jwt: Jwt, tree: Tree, folder: FilePath) -> ProductSpec:
    if (jwt.jwks_file is None) == (jwt.jwks_url is None):
        given = (
            "neither jwks_file nor jwks_url is given"
            if jwt.jwks_file is None
            else "both jwks_file and jwks_url are given"
        )
        findings.add(("spec", "auth", "jwt"), "jwks-source", f"{given}: give one of them", at_key=True)
        return spec
    if jwt.jwks_url is not None:
        _check_jwks_url(findings, spec, jwt.jwks_url)
        return spec
    try:
        content = check_jwks(tree.read_inside(folder, str(jwt.jwks_file)))
    except (FileRefused, JwksRefused) as refused:
        code = refused.code if isinstance(refused, JwksRefused) else "jwks-unreadable"
        findings.add(("spec", "auth", "jwt", "jwks_file"), code, f"'{jwt.jwks_file}': {refused}")
        return spec
    replace = msgspec.structs.replace
    return replace(spec, auth=replace(spec.auth, jwt=replace(jwt, jwks=content)))


def _check_jwks_url(findings: Findings, spec: ProductSpec, text: str) -> None:
    path: Path = ("spec", "auth", "jwt", "jwks_url")
    url = _check_url(findings, path, text, allow_private=spec.backend.allow_private)
    if url and url.scheme != "https" and not spec.backend.allow_private:
        message = f"{show(text)} is not encrypted, and keys that anybody can change protect nothing: write https"
        findings.add(path, "jwks-url-insecure", message)
