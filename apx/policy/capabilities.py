"""Which builtins a policy may use: those that opa compiles to WASM, and those that the runtime implements.

`python -m apx.policy.capabilities` writes `capabilities.json` anew from the installed opa. A policy is compiled
against that file, so one that needs more fails when it is built and never when it runs.
"""

from __future__ import annotations

import hashlib
import re
import sys
from functools import cache
from pathlib import Path

import msgspec

from apx.errors import Misconfigured
from apx.policy.builtins import HOST
from apx.policy.opa import Opa

CAPABILITIES = Path(__file__).with_name("capabilities.json")

IMPURE = frozenset({"time.now_ns", "io.jwt.decode_verify"})
"""Builtins that look at the clock (the token's times are compared with it); it stands still within one decision."""

NATIVE = frozenset(
    """
    abs and array.concat array.flatten array.reverse array.slice assign base64.decode base64.encode
    base64url.decode base64url.encode bits.and bits.lsh bits.negate bits.or bits.rsh bits.xor ceil
    concat contains count div endswith eq equal floor format_int glob.match graph.reachable gt gte indexof
    internal.member_2 internal.member_3 internal.template_string intersection is_array is_boolean is_null is_number
    is_object is_set is_string json.filter json.marshal json.remove json.unmarshal lower lt lte max min
    minus mul neq net.cidr_contains net.cidr_intersects numbers.range object.filter object.get object.keys
    object.remove object.union object.union_n or plus product regex.find_all_string_submatch_n regex.is_valid
    regex.match rem replace round sort split startswith strings.replace_n strings.reverse substring sum to_number trim
    trim_left trim_prefix trim_right trim_space trim_suffix type_name union upper walk
    """.split()  # noqa: SIM905  a table of words reads better than a list one item to a line
)
"""What opa's compiler has in WASM itself (`builtinsFunctions` in its internal/compiler/wasm/wasm.go, v1.22.2)."""

REFUSED = {
    "base64.is_valid": "opa's WASM calls invalid text valid",
    "json.is_valid": "opa's WASM calls invalid text valid",
    "yaml.is_valid": "two readers of YAML do not agree",
    "yaml.marshal": "two writers of YAML do not agree",
    "yaml.unmarshal": "two readers of YAML do not agree; take JSON",
    "uri.is_valid": "two readers of URIs do not agree",
    "uri.parse": "two readers of URIs do not agree; the request's path and query are in the input",
    "json.match_schema": "two validators do not agree on messages; state the rules in Rego",
    "json.verify_schema": "two validators do not agree on messages; state the rules in Rego",
    "io.jwt.encode_sign": "a decision signs nothing",
    "io.jwt.encode_sign_raw": "a decision signs nothing",
    "all": "deprecated; use every",
    "any": "deprecated; use some",
    "cast_array": "deprecated",
    "cast_boolean": "deprecated",
    "cast_null": "deprecated",
    "cast_object": "deprecated",
    "cast_set": "deprecated",
    "cast_string": "deprecated",
    "net.cidr_overlap": "deprecated; use net.cidr_contains",
    "re_match": "deprecated; use regex.match",
    "set_diff": "deprecated; use -",
    "crypto.parse_private_keys": "policies hold no private keys",
    "crypto.x509.parse_and_verify_certificates": "certificates are the edge's to verify",
    "crypto.x509.parse_and_verify_certificates_with_options": "certificates are the edge's to verify",
    "crypto.x509.parse_certificate_request": "certificates are the edge's to verify",
    "crypto.x509.parse_certificates": "certificates are the edge's to verify",
    "crypto.x509.parse_keypair": "policies hold no private keys",
    "crypto.x509.parse_rsa_private_key": "policies hold no private keys",
    "graph.reachable_paths": "the number of paths has no bound; use graph.reachable",
    "graphql.is_valid": "a decision reads no GraphQL",
    "graphql.parse": "a decision reads no GraphQL",
    "graphql.parse_and_verify": "a decision reads no GraphQL",
    "graphql.parse_query": "a decision reads no GraphQL",
    "graphql.parse_schema": "a decision reads no GraphQL",
    "graphql.schema_is_valid": "a decision reads no GraphQL",
    "regex.globs_match": "no RE2 there; use glob.match",
    "rego.metadata.chain": "metadata is not in the module",
    "rego.metadata.rule": "metadata is not in the module",
    "rego.parse_module": "a decision reads no Rego",
    "strings.render_template": "Go's templates are a language of their own; use a template string or sprintf",
    "http.send": "a decision makes no calls; put what it needs into the request or into data",
    "net.lookup_ip_addr": "a decision makes no calls",
    "opa.runtime": "a decision does not depend on where it runs",
    "rand.intn": "a decision is a function of its input",
    "uuid.rfc4122": "a decision is a function of its input",
    "trace": "there is no tracer at run time; use print in tests",
    "providers.aws.sign_req": "backends are signed for by the worker, not by policies",
}
"""Why some builtins are left out on purpose, for the error message."""

_FEATURES = ["keywords_in_refs", "rego_v1", "template_strings"]
_ALWAYS = frozenset({"print", "internal.print", "internal.test_case"})
_UNDEFINED = re.compile(r"undefined function (\S+)")


def generate(opa: Opa) -> bytes:
    """Filter `opa capabilities` to what a policy may use. Raises `Misconfigured` when opa does not answer."""
    completed = opa.run(["capabilities", "--current"])
    if completed.status != 0:
        raise Misconfigured(f"{opa.binary} capabilities failed: {completed.stderr.strip()}")
    document = msgspec.json.decode(completed.stdout)
    allowed = NATIVE | HOST.keys() | _ALWAYS
    known = {builtin["name"] for builtin in document["builtins"]}
    missing = sorted((NATIVE | HOST.keys()) - known)
    if missing:
        raise Misconfigured(f"opa {opa.version()} does not know {', '.join(missing)}")
    kept = [builtin for builtin in document["builtins"] if builtin["name"] in allowed]
    result = {"builtins": kept, "features": _FEATURES, "allow_net": []}
    return msgspec.json.format(msgspec.json.encode(result, order="sorted"), indent=1) + b"\n"


@cache
def allowed_builtins() -> frozenset[str]:
    """Return the names in `capabilities.json`."""
    return frozenset(builtin["name"] for builtin in msgspec.json.decode(CAPABILITIES.read_bytes())["builtins"])


@cache
def capabilities_digest() -> str:
    """Return the SHA-256 of `capabilities.json`, in hex."""
    return hashlib.sha256(CAPABILITIES.read_bytes()).hexdigest()


def refusal(message: str) -> str:
    """Return what to add to opa's message about an undefined function, or nothing."""
    match = _UNDEFINED.search(message)
    if match is None:
        return ""
    reason = REFUSED.get(match[1])
    return f" (APX does not offer it: {reason})" if reason else " (docs/policy-builtins.md lists what there is)"


if __name__ == "__main__":
    CAPABILITIES.write_bytes(generate(Opa.find()))
    sys.stdout.write(f"{CAPABILITIES} has {len(msgspec.json.decode(CAPABILITIES.read_bytes())['builtins'])} builtins\n")
