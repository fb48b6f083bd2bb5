"""A product drafted from an OpenAPI document: what can be known of it is written, what must be decided stands beside.

    document → routes, methods, base path, whether a token is asked for → `Draft` → files of a gitops tree

The document is copied as it is when APX takes it; what it does not take (regular expressions outside RE2, schemas that
lead back to themselves) is taken out of the copy, and told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import deepcopy
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import yaml

from apx.catalog.mistakes import Path, show_path
from apx.catalog.model import BasePath, Route, RoutePath
from apx.catalog.openapi.compile import NotCompiled, compile_operations
from apx.catalog.openapi.operations import BRACED, METHODS, paths_under, read_operations, shape
from apx.catalog.openapi.schemas import Tell
from apx.catalog.product_checks import RESERVED_BASE_PATHS
from apx.catalog.urls import UrlRefused, read_url
from apx.errors import InvalidCatalog

MOST_ROUTES = 1000
_MOST_TAKEN_OUT = 500
_SERVED = tuple(method for method in METHODS if method != "trace")
_MOST_ROUNDS = 20
_NOT_TAKEN_OUT = frozenset({"openapi-version", "openapi-ref-remote"})
"""What is left without these says too little."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a product is to be, as far as its document says."""

    name: str
    title: str
    description: str
    base_path: str
    server: str
    routes: list[Route]
    asks_token: bool
    """The document's security has a bearer token or OpenID Connect."""
    document: Any
    changed: bool
    """The document is not what was read."""
    notes: list[str]
    """What was left out, and why."""


def draft(document: Any, name: str | None) -> Draft:
    """Draft a product. Raises `InvalidCatalog` when the document has nothing that could be served."""
    paths = document.get("paths") if isinstance(document, dict) else None
    if not isinstance(paths, dict):
        raise InvalidCatalog("the document has no paths: there is nothing to serve")
    information = document.get("info") if isinstance(document.get("info"), dict) else {}
    title = _line(information.get("title"), "API")
    chosen = name or _name(title)
    server, base_path = _server(document, chosen)
    notes: list[str] = []
    routes = _routes(paths, base_path, notes)
    taken = deepcopy(document)
    taken_out = _take_out(taken, base_path, routes)
    notes += [f"taken out of the copy: {one}" for one in taken_out]
    return Draft(
        name=chosen,
        title=title,
        description=_line(information.get("description"), "", 300),
        base_path=base_path,
        server=server,
        routes=routes,
        asks_token=_asks_token(document),
        document=taken,
        changed=bool(taken_out),
        notes=notes,
    )


def _line(value: Any, otherwise: str, longest: int = 120) -> str:
    text = " ".join("".join(char if char.isprintable() else " " for char in str(value or "")).split())
    return text[:longest].strip() or otherwise


def _name(title: str) -> str:
    words = re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
    name = words if words[:1].isalpha() else f"api-{words}"
    return name[:40].strip("-")


def _server(document: dict[str, Any], name: str) -> tuple[str, str]:
    """Return the backend's address and the base path: the server's own where APX can serve it."""
    servers = document.get("servers")
    first = servers[0] if isinstance(servers, list) and servers and isinstance(servers[0], dict) else {}
    url = str(first.get("url", ""))
    for variable, value in (first.get("variables") or {}).items():
        url = url.replace(f"{{{variable}}}", str(value.get("default", "")) if isinstance(value, dict) else "")
    try:
        path = unquote(urlsplit(url).path).rstrip("/")
        server = "" if read_url(url.rstrip("/")).private else url.rstrip("/")
    except (ValueError, UrlRefused):
        return "", f"/{name}"
    return server, _base_path(path, name)


def _base_path(path: str, name: str) -> str:
    if _fits(path, BasePath) and path.split("/")[1] not in RESERVED_BASE_PATHS:
        return path
    return f"/{name}"


def _fits(text: str, kind: Any) -> bool:
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return True


def _routes(paths: dict[str, Any], base_path: str, notes: list[str]) -> list[Route]:
    routes: dict[str, Route] = {}
    for path, written in sorted(paths_under(paths, base_path).items()):
        item = paths[written]
        template = _template(path)
        methods = tuple(method.upper() for method in _SERVED if isinstance(item, dict) and method in item)
        if not _fits(template, RoutePath):
            notes.append(f"left out: {written} (no route of APX has this form)")
        elif not methods:
            notes.append(f"left out: {written} (it names no method)")
        elif shape(template) in routes:
            notes.append(f"left out: {written} (it is {routes[shape(template)].path} with other names)")
        elif len(routes) == MOST_ROUTES:
            notes.append(f"left out: {written} and what follows (a product has {MOST_ROUTES} routes at most)")
            break
        else:
            routes[shape(template)] = Route(path=template, methods=methods)
    if not routes:
        raise InvalidCatalog("no path of the document can be a route: " + "; ".join(notes[:3] or ["there are none"]))
    return list(routes.values())


def _template(path: str) -> str:
    """Return a path as a route's template: names in braces in lower case, each once."""
    seen: dict[str, int] = {}

    def named(found: re.Match[str]) -> str:
        words = re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", found[1]).lower()
        name = re.sub("[^a-z0-9_]+", "_", words).strip("_")
        name = name if name[:1].isalpha() else f"p{name}"
        seen[name] = seen.get(name, 0) + 1
        return f"{{{name}}}" if seen[name] == 1 else f"{{{name}_{seen[name]}}}"

    return BRACED.sub(named, path)


def _take_out(document: Any, base_path: str, routes: list[Route]) -> list[str]:
    """Take out of a document what APX does not take, and say what it was."""
    taken: list[str] = []
    for _ in range(_MOST_ROUNDS):
        wrong: list[tuple[Path, str, str]] = []
        operations = read_operations(document, base_path, routes, _into(wrong), _nothing)
        if not wrong:
            try:
                compile_operations(operations)
            except NotCompiled as error:
                raise InvalidCatalog(f"the document cannot be taken: {error}") from error
            return taken
        for path, code, message in sorted(wrong, key=lambda one: len(one[0]), reverse=True):
            if code in _NOT_TAKEN_OUT or not path or len(taken) >= _MOST_TAKEN_OUT:
                raise InvalidCatalog(f"{show_path(path)}: {message}" if path else message)
            if _cut(document, path):
                taken.append(f"{show_path(path)} ({message.rpartition(': ')[0] or message})")
    raise InvalidCatalog(f"too much of the document cannot be taken; first: {taken[0]}")


def _into(wrong: list[tuple[Path, str, str]]) -> Tell:
    return lambda path, code, message: wrong.append((path, code, message))


def _nothing(_: int, __: str, ___: str, ____: str) -> None:
    """Leave what no route needs."""


def _cut(document: Any, path: Path) -> bool:
    """Remove a part: a key of a mapping, a parameter; another schema becomes one that takes anything."""
    around = document
    for step in path[:-1]:
        if not _holds(around, step):
            return False
        around = around[step]
    last = path[-1]
    if not _holds(around, last):
        return False
    is_schema = len(path) > 1 and path[-2] in ("schemas", "properties")
    if is_schema or (isinstance(around, list) and "parameters" not in path[-2:]):
        around[last] = {}
    else:
        del around[last]
    return True


def _holds(around: Any, step: str | int) -> bool:
    if isinstance(around, list):
        return isinstance(step, int) and step < len(around)
    return isinstance(around, dict) and step in around


def _asks_token(document: dict[str, Any]) -> bool:
    components = document.get("components")
    schemes = components.get("securitySchemes") if isinstance(components, dict) else None
    return isinstance(schemes, dict) and any(map(_is_token, schemes.values()))


def _is_token(scheme: Any) -> bool:
    return isinstance(scheme, dict) and (
        scheme.get("type") in ("openIdConnect", "oauth2")
        or (scheme.get("type") == "http" and str(scheme.get("scheme", "")).lower() == "bearer")
    )


def files(made: Draft, raw: bytes, document_name: str, plan: str) -> dict[str, bytes]:
    """Return the files of a drafted product by their names in a gitops tree."""
    package = "products." + re.sub("[^a-z0-9_]", "_", made.name)
    policies = f"policies/{package.replace('.', '/')}"
    document = raw
    if made.changed:
        document_name = "openapi.yaml"
        heading = "".join(f"# {note}\n" for note in made.notes)
        text = yaml.dump(made.document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
        document = f"# The document that was imported, but for:\n{heading}{text}".encode()
    return {
        f"products/{made.name}/product.yaml": _product(made, document_name, package, plan).encode(),
        f"products/{made.name}/{document_name}": document,
        f"{policies}/policy.rego": _policy(made, package, plan).encode(),
        f"{policies}/policy_test.rego": _policy_test(made, package, plan).encode(),
    }


class _Plain(yaml.CSafeDumper):
    """Writes values out, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- the library's signature
        """Write what stands in several places in each."""
        return True


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _product(made: Draft, document_name: str, package: str, plan: str) -> str:
    backend = made.server or "https://backend.example"
    known = "" if made.server else "  # to fill in: the document names no server"
    about_auth = (
        "  # The document asks for tokens. APX asks for its own API key; to have it verify the token too:\n"
        "  # auth: {jwt: {issuer: https://issuer.example, audiences: [api], jwks_url: https://issuer.example/jwks}}\n"
    )
    return f"""\
# yaml-language-server: $schema=../../schemas/product.json
apiVersion: apx.dev/v1
kind: Product
metadata:
  name: {made.name}
spec:
  title: {_quoted(made.title)}
  description: {_quoted(made.description)}
  owner: to-fill-in  # the team that answers for it
  base_path: {made.base_path}
  mode: async  # sync: the edge proxies and the client waits; bodies are then not validated
  backend:
    url: {_quoted(backend)}{known}
    # timeout_s: 30
    # concurrency: 64
  openapi: {document_name}
  openapi_mode: observe  # enforce, once apx_request_validations_total shows no more that departs
  routes:
{_written(made.routes)}{about_auth if made.asks_token else ""}\
  # async: {{lane: org, deadline_s: 3600, retention_s: 86400, backlog: 10000}}
  policy:
    package: {package}
  plans: [{plan}]  # each names the rate that a key may use
  # slo: {{availability_percent: 99.5, latency_p99_ms: 1000}}
"""


def _written(routes: Iterable[Route]) -> str:
    return "".join(
        f'    - path: "{route.path}"\n      methods: [{", ".join(route.methods)}]\n'
        + ("      # max_body_bytes: 1048576\n" if {"POST", "PUT", "PATCH"} & set(route.methods) else "")
        for route in routes
    )


def _policy(made: Draft, package: str, plan: str) -> str:
    return f"""\
# METADATA
# description: Who may do what with {made.name}; drafted, to be filled in.
package {package}

default decision := {{"allow": false, "reason": "plan-unknown", "detail": "Your plan does not cover this product."}}

decision := {{"allow": true, "reason": "ok"}} if input.plan == "{plan}"
"""


def _policy_test(made: Draft, package: str, plan: str) -> str:
    first = made.routes[0]
    last = package.rpartition(".")[2]
    return f"""\
package {package}_test

import data.{package}

request := {{
	"org": "acme",
	"region": "eu",
	"product": "{made.name}",
	"plan": "{plan}",
	"key": {{"id": "k1"}},
	"request": {{
		"method": "{first.methods[0]}",
		"route": "{first.path}",
		"path": "/",
		"params": {{}},
		"query": {{}},
		"headers": {{}},
		"client_ip": "198.51.100.7",
	}},
}}

test_the_plan_that_is_offered_is_allowed if {{
	{last}.decision.allow with input as request
}}

test_another_plan_is_denied if {{
	{last}.decision.reason == "plan-unknown" with input as object.union(request, {{"plan": "gratis"}})
}}
"""
