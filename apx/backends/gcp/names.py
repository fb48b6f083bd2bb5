"""What things are called in Google Cloud: the adapters use them, and the stacks make them under these names.

A region's data has names with the region in them: a process asks for its own region's, and cannot mix them up.
"""

from __future__ import annotations

RESULTS, IDEMPOTENCY = "results", "idempotency"
"""Collections of documents that expire: Firestore removes them some time after `EXPIRES`."""
EXPIRES = "expires_at"
SECRETS = ("receipts", "arms", "admin-token", "control-tokens")
"""Secrets that all processes of an installation share, each a file of this name in the folder `keys` of the home."""


def secret(name: str) -> str:
    """Return the secret of Secret Manager behind one of `SECRETS`."""
    return f"apx-{name}"


def requests_topic(region: str, product: str) -> str:
    """Return the topic, and the subscription, of the requests of an asynchronous product."""
    return f"apx-{region}-requests-{product}"


def usage_topic(region: str) -> str:
    """Return the topic of usage events, which BigQuery subscribes to."""
    return f"apx-{region}-usage"


def database(region: str) -> str:
    """Return the Firestore database of a region."""
    return f"apx-{region}"


def bucket(project: str, region: str) -> str:
    """Return the bucket of releases and large bodies of a region; bucket names are unique in the world."""
    return f"{project}-apx-{region}"
