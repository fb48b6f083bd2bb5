"""How an evaluation ends that did not end well."""

from __future__ import annotations


class Stopped(Exception):
    """`reason` is the decision's code (`policy-trap`, `policy-memory`, …), `detail` is for the operator."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
