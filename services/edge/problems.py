"""What the edge itself answers: `application/problem+json` (RFC 9457) with a stable code, whatever went wrong.

Answers that come from the router or a backend pass as they are; nothing here tells a client about an upstream.
"""

from __future__ import annotations

from typing import Any

from services.edge.clusters import ACCEPTS

CEL = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
_OPERATORS = '[{"command":"REQ","param":"X-REQUEST-ID","max_length":64},{"command":"RESP","param":"X-REQUEST-ID"}]'
REQUEST_ID = f'%COALESCE({{"operators":{_OPERATORS}}})%'
"""The request's name. What is refused before its header fields are read has none: the answer brings one along."""

PROBLEMS: dict[int, tuple[str, str]] = {
    400: ("bad-request", "The request is not well-formed HTTP, or its path has more than one reading."),
    401: ("unauthenticated", "A valid token is asked for."),
    403: ("refused", "The request is refused."),
    404: ("not-found", "There is nothing here."),
    405: ("method-not-allowed", "The method is not offered."),
    408: ("request-timeout", "The request took too long to arrive."),
    413: ("body-too-large", "The body is larger than this route allows."),
    426: ("upgrade-required", "HTTP/1.1 or HTTP/2 is asked for."),
    429: ("too-many-requests", "There are too many requests."),
    431: ("headers-too-large", "The headers are larger than the limit, or too many."),
    500: ("internal", "The request could not be handled."),
    502: ("bad-gateway", "The backend did not answer properly."),
    503: ("unavailable", "The service is busy. Try again shortly."),
    504: ("timeout", "The backend did not answer in time."),
}


def local_replies() -> dict[str, Any]:
    """Return the HCM's `local_reply_config`."""
    return {
        "mappers": [
            # The router's own refusal, which ext_authz hands on: keep its body.
            _mapper(_details('response.code_details == "ext_authz_denied"'), body="%LOCAL_REPLY_BODY%"),
            # Envoy answers a wrong audience with 403: for the caller each bad token is the same 401.
            _mapper(_details('response.code_details.startsWith("jwt_authn_access_denied")'), status=401),
            _mapper(_details('response.code_details.startsWith("absolute_path_rejected")'), status=400),
            _overloaded(),
            # Envoy's word for an unknown Transfer-Encoding: nobody here can read the body.
            _mapper(_status(501), status=400),
            *(_mapper(_status(status), status=status) for status in PROBLEMS if status != _DEFAULT),
        ],
        "body_format": _problem(_DEFAULT, literal=False),
    }


_DEFAULT = 500


def _mapper(when: dict[str, Any], *, status: int | None = None, body: str | None = None) -> dict[str, Any]:
    mapper: dict[str, Any] = {"filter": when}
    if body is not None:
        text = {"text_format_source": {"inline_string": body}, "content_type": "application/problem+json"}
        return mapper | {"body_format_override": text}
    if status is not None:
        mapper |= {"status_code": status, "body_format_override": _problem(status)}
    mapper["headers_to_add"] = [_NAMED]
    if status == 401:  # noqa: PLR2004 - RFC 9110 11.6.1: a 401 names the scheme
        mapper["headers_to_add"] += [_set("www-authenticate", "Bearer")]
    if status in {429, 503}:
        mapper["headers_to_add"] += [_set("retry-after", "1")]
    return mapper


def _overloaded() -> dict[str, Any]:
    """Answer what a bound of the router's clusters refused (`clusters.py`); a backend's own bound is `unavailable`."""
    overflow = 'response.code_details == "upstream_reset_before_response_started{overflow}"'
    mapper = {"filter": _details(f"{overflow} && xds.cluster_name == '{ACCEPTS}'")}
    problem = _problem(503, code="overloaded", title="There is more to do than this service can. Try again shortly.")
    # The tenth of a second at which the request came: 0 to 9 s, so that not all come back together.
    again = _set("retry-after", "%START_TIME(%1f)%")
    return {**mapper, "status_code": 503, "body_format_override": problem, "headers_to_add": [_NAMED, again]}


def _set(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


_NAMED = {"header": {"key": "x-request-id", "value": "%UNIQUE_ID%"}, "append_action": "ADD_IF_ABSENT"}
"""Replaced by the request's own, where it has one."""


def _problem(status: int, *, literal: bool = True, code: str = "", title: str = "") -> dict[str, Any]:
    usual_code, usual_title = PROBLEMS[status]
    return {
        "json_format": {
            "type": "about:blank",
            "title": title or usual_title,
            "status": status if literal else "%RESPONSE_CODE%",
            "code": code or usual_code,
            "request_id": REQUEST_ID,
        },
        "content_type": "application/problem+json",
    }


def _status(status: int) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": "edge.problems.status"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _details(expression: str) -> dict[str, Any]:
    config = {"@type": CEL, "expression": expression}
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": config}}
