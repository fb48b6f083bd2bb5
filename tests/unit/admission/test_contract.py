"""Requests held against an OpenAPI document: what is refused, and how it is told."""

from __future__ import annotations

import json
import time
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apx.admission.admit import Admitted, Call, LiveProduct, Refused, conclude, judge, levels
from apx.admission.contract import Held, Seen, contract_of
from apx.admission.orgs import NO_TERMS
from apx.admission.routes import Match
from apx.catalog.model import PolicyRef, Rate, Route
from apx.clock import ManualClock
from apx.errors import ReleaseRejected
from apx.limits.bucket import Buckets
from apx.limits.leases import Answer
from apx.release.model import Release
from tests.unit.admission.test_admit import Says, key
from tests.unit.catalog.openapi_documents import document
from tests.unit.release.examples import manifest, spec

ROUTES = (Route(path="/", methods=("POST",)),)
ORDER = {
    "type": "object",
    "required": ["sku", "quantity"],
    "additionalProperties": False,
    "properties": {
        "sku": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "quantity": {"type": "integer", "minimum": 1, "maximum": 9},
        "kind": {"enum": ["gift", "own"]},
        "pay": {"oneOf": [{"required": ["card"]}, {"required": ["iban"]}]},
        "lines": {"type": "array", "items": {"$ref": "#/components/schemas/Line"}},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
LINE = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
GOOD = {"sku": "ABC", "quantity": 1}


def release(whole: Any, **changes: Any) -> Release:
    fields = {"routes": ROUTES, "openapi": "openapi.yaml", **changes}
    made = manifest(of=spec(**fields))
    return Release(digest="sha256:1", manifest=made, wasm=b"", data=b"{}", openapi=json.dumps(whole).encode())


def hold(whole: Any, body: bytes = b"", query: dict[str, list[str]] | None = None, **fields: Any) -> Held:
    contract = contract_of(release(whole))
    assert contract is not None
    headers = {"content-type": "application/json", **fields.pop("headers", {})}
    return contract.hold(Seen("/", "POST", {}, query or {}, headers, body))


def told(held: Held) -> list[tuple[str, str, str]]:
    return [(one.place, one.pointer, one.detail) for one in held.invalid.errors] if held.invalid else []


def of_order(value: Any) -> list[tuple[str, str, str]]:
    return told(hold(document(ORDER, schemas={"Line": LINE}), json.dumps(value).encode()))


def of_parameter(schema: Any, *values: str, place: str = "query", **fields: Any) -> list[tuple[str, str, str]]:
    parameter = {"name": "x", "in": place, "schema": schema, **fields}
    whole = document(parameters=[parameter], required=False)
    if place == "header":
        return told(hold(whole, headers={"x": values[0]}))
    return told(hold(whole, query={"x": list(values)} if values else {}))


def test_what_keeps_the_document_passes() -> None:
    assert of_order(GOOD | {"kind": "gift", "lines": [{"n": 1}], "pay": {"iban": "x"}, "tags": {"a": "b"}}) == []


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        ({"sku": "secret"}, "/sku", "does not have the form that is asked for"),
        ({"quantity": 0}, "/quantity", "is under 1"),
        ({"quantity": 10}, "/quantity", "is over 9"),
        ({"quantity": "7"}, "/quantity", "is not of type integer"),
        ({"kind": "secret"}, "/kind", "is none of the values that may stand here"),
        ({"secret": 1}, "", "has a field that is not in the schema"),
        ({"pay": {}}, "/pay", "does not fit exactly one of the alternatives"),
        ({"lines": [{"n": 1}, {}]}, "/lines/1", "lacks 'n'"),
        ({"tags": {"secret": 1}}, "/tags/*", "is not of type string"),
    ],
)
def test_a_departure_is_told_by_its_place_and_what_is_asked_there(change: Any, pointer: str, detail: str) -> None:
    assert of_order(GOOD | change) == [("body", pointer, detail)]


def test_the_first_few_departures_are_told() -> None:
    assert of_order({"lines": []}) == [("body", "", "lacks 'sku'"), ("body", "", "lacks 'quantity'")]
    assert len(of_order(GOOD | {"lines": [{}] * 100})) == 5


def test_of_a_long_body_the_first_departure_is_told() -> None:
    assert len(of_order(GOOD | {"lines": [{"m": "x" * 100}] * 100})) == 1


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "request-invalid"),
        (b"{", {}, 400, "body-invalid"),
        (b'{"sku":"ABC","sku":"ABC","quantity":1}', {}, 400, "body-invalid"),
        (b"[" * 100_000, {}, 400, "body-invalid"),
        (b"1e400", {}, 400, "body-invalid"),
        (b'"\\ud800"', {}, 400, "body-invalid"),
        (b"{}", {"content-type": "text/plain"}, 415, "request-invalid"),
        (b"{}", {"content-type": "application/json; charset=utf-16"}, 415, "request-invalid"),
        (b"{}", {"content-encoding": "gzip"}, 415, "body-encoded"),
        (b"{}", {}, 422, "request-invalid"),
    ],
)
def test_a_body_that_cannot_be_held_against_the_schema_is_refused(
    body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    invalid = hold(document(ORDER, schemas={"Line": LINE}), body, headers=headers).invalid
    assert invalid is not None
    assert (invalid.status, invalid.code) == (status, code)


def test_a_body_that_need_not_be_there_may_be_missing() -> None:
    assert hold(document(ORDER, required=False, schemas={"Line": LINE})).invalid is None


@pytest.mark.parametrize("kind", ["image/png", "image/*", "*/*"])
def test_what_is_not_json_is_taken_as_it_is(kind: str) -> None:
    assert hold(document(ORDER, kind=kind, schemas={"Line": LINE}), b"\xff", headers={"content-type": "image/png"}) == (
        None,
        False,
    )


def test_json_under_a_range_is_held_against_its_schema() -> None:
    assert told(hold(document({"type": "object"}, kind="*/*"), b"1")) == [("body", "", "is not of type object")]


@pytest.mark.parametrize(
    ("schema", "values", "right"),
    [
        ({"type": "integer"}, ["7"], True),
        ({"type": "integer"}, ["07"], False),
        ({"type": "integer"}, ["7.5"], False),
        ({"type": "integer", "maximum": 9}, ["10"], False),
        ({"type": "number"}, ["-1.5e2"], True),
        ({"type": "number"}, ["1e999"], False),
        ({"type": "number"}, ["NaN"], False),
        ({"type": "number"}, ["9" * 10_000], False),
        ({"type": "boolean"}, ["true"], True),
        ({"type": "boolean"}, ["True"], False),
        ({"type": ["integer", "null"]}, [""], True),
        ({"type": "string", "maxLength": 2}, ["77"], True),
        ({"type": "string", "maxLength": 2}, ["777"], False),
        ({"type": "string"}, ["a", "b"], False),
        ({"enum": [1, 2]}, ["2"], True),
        ({"anyOf": [{"type": "integer"}, {"const": "all"}]}, ["all"], True),
        ({"anyOf": [{"type": "integer"}, {"const": "all"}]}, ["none"], False),
        ({"type": "array", "items": {"type": "integer"}}, ["1", "2"], True),
        ({"type": "array", "items": {"type": "integer"}}, ["1", "x"], False),
        ({"type": "array", "maxItems": 1}, ["1", "2"], False),
        ({}, ["anything"], True),
    ],
)
def test_a_parameter_is_read_by_what_its_schema_speaks_of(schema: Any, values: list[str], right: object) -> None:
    assert (of_parameter(schema, *values) == []) is right


def test_lists_stand_between_separators_when_the_document_says_so() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    assert of_parameter(schema, "1,2", explode=False) == []
    assert of_parameter(schema, "1|2", style="pipeDelimited", explode=False) == []
    assert of_parameter(schema, "1,x", explode=False) == [("query", "/x/1", "is not of type integer")]
    assert of_parameter(schema, "1,2", place="header") == []


def test_a_parameter_may_be_a_json_document() -> None:
    content = {"application/json": {"schema": {"type": "object"}}}
    whole = document(parameters=[{"name": "x", "in": "query", "content": content}], required=False)
    assert told(hold(whole, query={"x": ["{}"]})) == []
    assert told(hold(whole, query={"x": ["{"]})) == [("query", "/x", "is not JSON")]
    assert told(hold(whole, query={"x": ["1"]})) == [("query", "/x", "is not of type object")]


def test_what_is_required_must_be_there() -> None:
    assert of_parameter({"type": "string"}, required=True) == [("query", "/x", "is missing")]
    assert of_parameter({"type": "string"}) == []
    assert of_parameter({"type": "integer"}, "", allowEmptyValue=True) == []


def test_an_object_over_several_fields_is_looked_for() -> None:
    parameter = {"name": "f", "in": "query", "required": True, "style": "deepObject", "schema": {"type": "object"}}
    whole = document(parameters=[parameter], required=False)
    assert told(hold(whole, query={"f[a]": ["1"]})) == []
    assert told(hold(whole, query={})) == [("query", "/f", "is missing")]


def test_parameters_of_the_path_are_those_in_the_same_braces() -> None:
    parameters = [{"name": name, "in": "path", "required": True, "schema": schema}
                  for name, schema in (("orderId", {"type": "integer"}), ("lineNo", {"type": "string"}))]  # fmt: skip
    whole = document(parameters=parameters, required=False, path="/{orderId}/lines/{lineNo}")
    route = Route(path="/{order}/lines/{line}", methods=("POST",))
    contract = contract_of(release(whole, routes=(route,)))
    assert contract is not None
    held = contract.hold(Seen(route.path, "POST", {"order": "x", "line": "y"}, {}, {}, b""))
    assert told(held) == [("path", "/orderId", "is not of type integer")]


class Desk:
    """One product with a document, one policy."""

    def __init__(self, **changes: Any) -> None:
        self.policy = Says()
        whole = document(ORDER, schemas={"Line": LINE})
        self.live = LiveProduct(release(whole, policy=PolicyRef(package="p", body=True), **changes), self.policy)

    def admit(self, body: bytes, **plans: Any) -> Admitted | Refused:
        caller, match = key(**plans), self._match()
        judged = judge(self.live, match, caller, self._call(body), self.live.decide, counts=True)
        if isinstance(judged, Refused):
            return judged
        [level] = levels(self.live, judged, NO_TERMS, 0.0, lambda _: 0.0)
        assert isinstance(level.rate, Rate)
        taken = Buckets(ManualClock()).take(level.bucket, level.rate, judged.decision.cost)
        return conclude(self.live, judged, Answer(level, taken))

    def judge(self, body: bytes) -> object:
        return judge(self.live, self._match(), key(), self._call(body), self.policy.decide)

    def _match(self) -> Match:
        match = self.live.routes.match("POST", "/")
        assert isinstance(match, Match)
        return match

    def _call(self, body: bytes) -> Call:
        return Call(method="POST", path="/", query="", headers={}, client_ip="", body=body)


def test_the_policy_is_not_asked_about_what_departs_from_the_document() -> None:
    desk = Desk()
    answer = desk.admit(b"{}")
    assert isinstance(answer, Refused)
    assert (answer.status, answer.code, len(answer.errors)) == (422, "request-invalid", 2)
    assert desk.policy.shown == []


def test_who_may_not_call_learns_nothing_of_the_document() -> None:
    answer = Desk().admit(b"{}", plans={"other": "free"})
    assert isinstance(answer, Refused)
    assert answer.code == "product-not-entitled"


def test_what_keeps_the_document_is_shown_to_the_policy() -> None:
    desk = Desk()
    assert isinstance(desk.admit(json.dumps(GOOD).encode()), Admitted)
    assert desk.policy.last["body"] == GOOD


def test_observed_departures_pass() -> None:
    assert isinstance(Desk(openapi_mode="observe").admit(b"{}"), Admitted)


def test_a_candidate_in_shadow_is_judged_by_its_own_document() -> None:
    assert isinstance(Desk().judge(b"{}"), Refused)


def test_a_sync_products_bodies_are_not_asked_for() -> None:
    contract = contract_of(release(document(ORDER, schemas={"Line": LINE}), mode="sync"))
    assert contract is not None
    assert contract.hold(Seen("/", "POST", {}, {}, {}, b"")).invalid is None


@pytest.mark.parametrize("content", [None, b"{", b"{}", json.dumps(document({"type": "int"})).encode()])
def test_a_release_whose_document_is_not_right_is_refused(content: bytes | None) -> None:
    whole = release(document())
    broken = Release(digest=whole.digest, manifest=whole.manifest, wasm=b"", data=b"{}", openapi=content)
    with pytest.raises(ReleaseRejected, match="the OpenAPI document"):
        contract_of(broken)


# -- hostile bodies ----------------------------------------------------------------------------------------------------

NODE = {"$ref": "#/components/schemas/Node"}
TWICE = [{"properties": {"c": NODE}, "required": ["a"]}, {"properties": {"c": NODE}, "required": ["b"]}]


def nested(levels: int, inner: str) -> bytes:
    return ('{"a":1,"b":1,"c":' * levels + inner + "}" * levels).encode()


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf"])
def test_alternatives_that_recur_do_not_multiply(keyword: str) -> None:
    node = {keyword: TWICE}
    whole = document(NODE, schemas={"Node": node})
    started = time.perf_counter()
    for deep in (3, 30, 60, 500):
        assert hold(whole, nested(deep, '{"x":1}')).invalid is not None
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ({"items": {"type": "string"}}, b"[" + b"1," * 500_000 + b"1]"),
        ({"items": {"type": "string"}}, b"[" + b"1," * 1_000 + b"1]"),
        ({"uniqueItems": True}, b"[" + b",".join(b'{"a":%d}' % n for n in range(80_000)) + b"]"),
        ({"items": {"pattern": "^(a+)+$"}}, b'["' + b"a" * 500_000 + b'b"]'),
        ({"propertyNames": {"maxLength": 3}}, b"{" + b",".join(b'"k%d":1' % n for n in range(80_000)) + b"}"),
        ({"additionalProperties": False}, b"{" + b",".join(b'"k%d":1' % n for n in range(80_000)) + b"}"),
        ({"items": {"enum": [{"v": n} for n in range(90)]}}, b"[" + b'{"v":89},' * 90_000 + b"1]"),
    ],
)
def test_a_hostile_body_is_answered_in_bounded_time(schema: Any, body: bytes) -> None:
    whole = document(schema)
    contract = contract_of(release(whole))
    assert contract is not None
    started = time.perf_counter()
    held = contract.hold(Seen("/", "POST", {}, {}, {"content-type": "application/json"}, body))
    assert held.invalid is not None or "uniqueItems" in schema
    assert time.perf_counter() - started < 2
    assert len(repr(held)) < 2_000


# -- the library's verdict ---------------------------------------------------------------------------------------------

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text("ab1", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(["a", "b", "c"])
_LEAVES = st.one_of(
    st.booleans(),
    st.builds(lambda kind: {"type": kind}, st.sampled_from(["integer", "string", "object", "array", "number", "null"])),
    st.builds(lambda low: {"minimum": low}, st.integers(-5, 5)),
    st.builds(lambda most: {"maxLength": most}, st.integers(0, 3)),
    st.builds(lambda names: {"required": names}, st.lists(_NAMES, unique=True)),
    st.builds(lambda values: {"enum": values}, st.lists(_VALUES, min_size=1, max_size=3)),
    st.just({"pattern": "^[ab]+$"}),
    st.just({"uniqueItems": True}),
    st.just({"$ref": "#/components/schemas/A"}),
)  # fmt: skip


def _compound(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        *(st.builds(lambda parts, name=name: {name: parts}, several) for name in ("allOf", "anyOf", "oneOf")),
        st.builds(lambda part: {"not": part}, inner),
        st.builds(lambda a, b, c: {"if": a, "then": b, "else": c}, inner, inner, inner),
        st.builds(lambda parts: {"properties": parts}, st.dictionaries(_NAMES, inner, max_size=3)),
        st.builds(lambda part: {"additionalProperties": part}, inner),
        st.builds(lambda a, b: {"prefixItems": [a], "items": b}, inner, inner),
        st.builds(lambda a, b: {"allOf": [a], "unevaluatedProperties": b}, inner, inner),
        st.builds(lambda part: {"contains": part}, inner),
    )


_SCHEMAS = st.recursive(_LEAVES, _compound, max_leaves=10)


@settings(max_examples=300, deadline=None)
@given(schema=_SCHEMAS, shared=_LEAVES.filter(lambda one: one != {"$ref": "#/components/schemas/A"}), value=_VALUES)
def test_the_verdict_is_the_librarys_own_on_the_plain_schema(schema: Any, shared: Any, value: Any) -> None:
    whole = document(schema, schemas={"A": shared})
    plain = {"components": {"schemas": {"A": shared}}, "allOf": [schema]}
    held = hold(whole, json.dumps(value).encode())
    assert (held.invalid is None) == jsonschema_rs.Draft202012Validator(plain).is_valid(value)
    assert held.invalid is None or held.invalid.errors
