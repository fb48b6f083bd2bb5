"""Every error of APX, in one tree.

    ApxError
    ├── Permanent                  the same call will fail again
    │   ├── InvalidCatalog         the gitops tree has mistakes             422  exit 1
    │   ├── PolicyRejected         a policy does not compile or test        422  exit 1
    │   ├── ReleaseRejected        a release is not complete, signed, ours  409  exit 1
    │   ├── NotFound               no such thing for this caller            404  exit 1
    │   ├── Conflict               somebody else changed it first           409  exit 1
    │   ├── Unsupported            outside what this installation can do    422  exit 1
    │   └── Misconfigured          settings, ports or tools are wrong       500  exit 1
    └── Retryable                  the same call may succeed later
        └── Unavailable            a store, bus or tool does not answer     503  exit 1

Retryable or permanent is a type, not a flag. `str(error)` is for the operator: what, where, the offending value and
the way out. `public` is what a client may see: it never holds a path, a stack or a secret.
"""

from __future__ import annotations


class ApxError(Exception):
    """The root: a stable `code`, an HTTP `status` and a CLI `exit_code`."""

    code = "internal"
    status = 500
    exit_code = 1
    public = "The request could not be handled."

    def __init__(self, message: str, *, public: str | None = None) -> None:
        super().__init__(message)
        if public is not None:
            self.public = public


class Permanent(ApxError):
    """The same call will fail again."""


class Retryable(ApxError):
    """The same call may succeed later."""

    status = 503
    retry_after_s = 1


class InvalidCatalog(Permanent):
    """The gitops tree has mistakes."""

    code = "catalog-invalid"
    status = 422


class PolicyRejected(Permanent):
    """A policy does not compile, or its tests fail."""

    code = "policy-rejected"
    status = 422


class ReleaseRejected(Permanent):
    """A release is incomplete, changed, unsigned or signed by a key that is not trusted."""

    code = "release-rejected"
    status = 409


class NotFound(Permanent):
    """There is no such thing for this caller."""

    code = "not-found"
    status = 404
    public = "There is nothing here."


class Conflict(Permanent):
    """The thing was changed by somebody else first, or contradicts what is stored."""

    code = "conflict"
    status = 409


class Unsupported(Permanent):
    """What was asked for is outside what this installation can do."""

    code = "unsupported"
    status = 422


class Misconfigured(Permanent):
    """Settings, ports or tools of this process are wrong; the message says how to mend them."""

    code = "misconfigured"
    status = 500


class Unavailable(Retryable):
    """A store, a bus or a tool does not answer now."""

    code = "unavailable"
    public = "The service is busy. Try again shortly."
