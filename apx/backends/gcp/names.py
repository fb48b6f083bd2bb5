"""What things are called in Google Cloud: the adapters use them, and the stacks make them under these names.

A region's data has names with the region in them: a process asks for its own region's, and cannot mix them up.
"""

from __future__ import annotations

RESULTS, IDEMPOTENCY = "results", "idempotency"
"""Collections of documents that expire: Firestore removes them some time after `EXPIRES`."""
EXPIRES, CREATED = "expires_at", "created_at"
DEAD_LETTERS, KEYS, KEY_CHANGES, ROLLOUTS, AUDIT = "dead-letters", "keys", "key-changes", "rollouts", "audit"
"""Collections that stay, but for the notices of `KEY_CHANGES`: Firestore removes them after `FORGET`."""
KEY_PREFIXES = "key-prefixes"
"""A document for each, `p:<prefix>`."""
CHAIN, CHECKPOINTS, ORGS, WEBHOOKS, MEMBERS = "audit-chain", "audit-checkpoints", "orgs", "webhooks", "members"
"""Collections that stay: the audit log of everything, its countersigned heads, what holds for orgs at run time, whom
they have told, and who are their members."""
FORGET = "forget_at"
DELIVERED = "delivered_ms"
RECORD, STATE, TERMS, ENTRY = "record", "state", "terms", "entry"
"""Fields of msgpack, which nothing is looked for by: of results, dead letters and keys; of rollouts; of the audit."""
SECRETS = ("receipts", "arms", "admin-token", "control-tokens", "webhooks")
"""Secrets that all processes of an installation share, each a file of this name in the folder `keys` of the home."""
WORKERS = "worker"
"""Pods of the workers, and so the `job` of their metrics in managed Prometheus."""
SERVICE, AVAILABILITY = "apx", "availability"
"""The platform's own service in Cloud Monitoring, and its objective that answers are not 5xx."""
BODIES = "bodies/"
"""What the names of large bodies begin with; those of releases do not."""


USAGE_DATASET, USAGE_TABLE = "apx_usage", "usage"
"""The table of usage events in the home region, of all regions."""


def secret(name: str) -> str:
    """Return the secret of Secret Manager behind one of `SECRETS`."""
    return f"apx-{name}"


def requests_topic(region: str, product: str) -> str:
    """Return the topic, and the subscription, of the requests of an asynchronous product."""
    return f"apx-{region}-requests-{product}"


def usage_topic(region: str) -> str:
    """Return the topic of usage events, which BigQuery subscribes to."""
    return f"apx-{region}-usage"


def usage_subscription(region: str, reader: str) -> str:
    """Return the subscription of one reader of usage; what stores it has the topic's own name."""
    return usage_topic(region) if reader == "files" else f"{usage_topic(region)}-{reader}"


def database(region: str) -> str:
    """Return the Firestore database of a region."""
    return f"apx-{region}"


def bucket(project: str, region: str) -> str:
    """Return the bucket of releases and large bodies of a region; bucket names are unique in the world."""
    return f"{project}-apx-{region}"
