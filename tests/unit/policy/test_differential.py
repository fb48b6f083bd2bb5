"""What a module answers is what `opa eval` answers, builtin by builtin."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from apx.policy.capabilities import allowed_builtins
from apx.policy.opa import Opa
from tests.unit.policy.conftest import NOW_NS, REGO, Compare

CASES = Path(__file__).parent / "cases"
FAMILIES = sorted(path.stem for path in CASES.glob("*.yaml"))
PACKAGES = {"strings": "strings_", "sprintf": "sprintf_", "numbers": "numbers_"}
GENERATED = 300
RELATIVE = Decimal("1e-15")
"""opa's interpreter calculates with 64 bits, its WASM with 18 decimal digits."""

DIFFERENCES: dict[tuple[str, str], Callable[[dict[str, Any]], bool]] = {
    ("strings", "replace"): lambda given: given["b"] == "",
    ("strings", "indexof"): lambda given: given["b"] == "",
    ("encodings", "base64 back"): lambda given: given["a"] == "",
    ("encodings", "base64 decode"): lambda given: given["encoded"] not in ("YQ==", "YWI=", "YW+/"),
    ("encodings", "base64url decode"): lambda given: given["encoded"] not in ("YQ==", "YQ", "YWI=", "YW-_"),
    ("encodings", "json"): lambda given: isinstance(given["value"], (str, dict, list)),
    ("encodings", "json unmarshal"): lambda given: given["json"] in ("[1,]", "1 2"),
    ("numbers", "rounded"): lambda given: -1 < given["a"] < 0,  # the interpreter has ceil(-0.5) == 1
    ("networks", "contains"): lambda given: "/255." in given["a"] + given["b"],
    ("networks", "intersects"): lambda given: "/255." in given["a"] + given["b"],
    ("networks", "matches"): lambda given: "/255." in given["a"],
}
"""Where opa's own WASM differs from its interpreter (docs/policy-builtins.md)."""

STOPS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "strings": lambda given: given["b"] == "",
    "patterns": lambda given: not (given["text"] + given["pattern"]).isascii(),
    "encodings": bool,  # what is decoded need not be UTF-8
    "numbers": lambda given: given["b"] == 0 or given["i"] >= 2**31,
}
"""Where a module stops, which denies, and the interpreter goes on without the value."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_module_answers_as_opa_does(family: str, compare: Compare) -> None:
    inputs = [*_inputs(family), *_generated(family)]
    differences: list[tuple[Any, ...]] = []
    agreed = 0
    for given, (theirs, ours) in zip(inputs, compare(PACKAGES.get(family, family), inputs), strict=True):
        if isinstance(ours, str):
            if not _may_stop(family, given, ours):
                differences.append((given, ours))
            continue
        for name in sorted((theirs or {}).keys() | ours.keys()):
            if _same((theirs or {}).get(name), ours.get(name)):
                agreed += 1
            elif not DIFFERENCES.get((family, name), _never)(given):
                differences.append((given, name, (theirs or {}).get(name), ours.get(name)))
    assert not differences[:3]
    assert agreed > len(inputs)


def test_a_module_verifies_tokens_as_opa_does(compare: Compare) -> None:
    inputs = list(_tokens())
    answers = compare("tokens", inputs)
    assert [ours for _, ours in answers] == [theirs for theirs, _ in answers]
    verified = [ours["decode_verify"][0] for _, ours in answers if "decode_verify" in ours]
    assert True in verified
    assert False in verified


def test_every_builtin_of_the_capabilities_is_compared(opa: Opa) -> None:
    used: set[str] = set()
    for module in sorted(REGO.rglob("*.rego")):
        parsed = opa.run(["parse", "--format", "json", str(module)])
        assert parsed.status == 0, parsed.stderr
        used |= set(_references(json.loads(parsed.stdout)))
    not_called = {"print", "internal.print", "internal.test_case", "internal.template_string"}
    assert allowed_builtins() - used - not_called == set()


def _never(_: dict[str, Any]) -> bool:
    return False


def _inputs(family: str) -> Iterator[dict[str, Any]]:
    cases = yaml.safe_load((CASES / f"{family}.yaml").read_text())
    cycles = {name: itertools.cycle(values) for name, values in cases["cycle"].items()}
    for values in itertools.product(*cases["product"].values()):
        yield dict(zip(cases["product"], values, strict=True)) | {name: next(cycle) for name, cycle in cycles.items()}


def _generated(family: str) -> Iterator[dict[str, Any]]:
    """Draw combinations that the tables do not have."""
    cases = yaml.safe_load((CASES / f"{family}.yaml").read_text())
    pools = {**cases["product"], **cases["cycle"]}
    draw = random.Random(f"apx {family}")  # noqa: S311 -- inputs, not secrets
    for _ in range(GENERATED):
        yield {name: draw.choice(values) for name, values in pools.items()}


def _may_stop(family: str, given: dict[str, Any], reason: str) -> bool:
    host_refuses = reason.startswith("policy-trap: ") and reason.split()[1].rstrip(":") in allowed_builtins()
    return host_refuses or STOPS.get(family, _never)(given)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, Decimal)) and isinstance(other, (int, Decimal)):
        return one == other or abs(Decimal(one) - Decimal(other)) <= RELATIVE * abs(Decimal(one))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    elif isinstance(node, dict):
        if node.get("type") == "ref":
            yield ".".join(str(part.get("value")) for part in node["value"])
        for item in node.values():
            yield from _references(item)


def _tokens() -> Iterator[dict[str, Any]]:
    now_s = NOW_NS // 1_000_000_000
    claims: list[dict[str, Any]] = [
        {"sub": "a", "iss": "https://issuer.example", "aud": "apx", "exp": now_s + 60, "nbf": now_s - 60},
        {"sub": "b", "iss": "https://other.example", "aud": ["x", "apx"], "exp": now_s - 1},
        {"sub": "c", "nbf": now_s + 60},
        {"sub": "d", "n": 1.5, "big": 2**60},
    ]
    constraints: list[dict[str, Any]] = [
        {"time": NOW_NS},
        {"time": NOW_NS, "iss": "https://issuer.example", "aud": "apx"},
        {"time": NOW_NS, "alg": "RS256"},
        {"time": now_s * 10**9 + 10**12},
        {"unknown": 1},
    ]
    keys: dict[str, Any] = {
        "RS256": rsa.generate_private_key(65_537, 2_048),
        "PS384": rsa.generate_private_key(65_537, 2_048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "ES384": ec.generate_private_key(ec.SECP384R1()),
        "ES512": ec.generate_private_key(ec.SECP521R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        "HS256": "a secret of more than thirty-two bytes for HS256",
    }
    publics = [_pem(key) for name, key in keys.items() if name != "HS256"] + [_jwks(keys), "no key", ""]
    rows = [(name, claim) for name in keys for claim in claims]
    for (name, claim), constraint in itertools.product(rows, constraints):
        token = jwt.encode(claim, keys[name], algorithm=name, headers={"kid": name})
        own = publics[list(keys).index(name)] if name != "HS256" else publics[0]
        yield {"token": token, "key": own, "secret": keys["HS256"], "constraints": constraint}
    good = jwt.encode(claims[0], keys["RS256"], algorithm="RS256", headers={"kid": "RS256"})
    none = jwt.encode(claims[0], "", algorithm="none")
    for token in (good, good[:-4] + "AAAA", none, good + ".x", "a.b", "", good.replace(".", ".A", 1)):
        for public in publics:
            yield {"token": token, "key": public, "secret": "wrong", "constraints": {"time": NOW_NS}}


def _pem(key: Any) -> str:
    raw: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return raw.decode()


def _jwks(keys: dict[str, Any]) -> str:
    rs = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(keys["RS256"].public_key()))
    es = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(keys["ES256"].public_key()))
    return json.dumps({"keys": [rs | {"kid": "RS256", "alg": "RS256"}, es | {"kid": "ES256"}]})
