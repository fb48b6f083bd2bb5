"""What one request causes in Google's services: counted by tests where it can be, and by tests held to the code.

`tests/contract/test_journal.py` counts documents and messages against the emulators and compares them with these
numbers; `tests/unit/usage/test_per_request.py` holds the others to what the adapters and the stacks say.
"""

from __future__ import annotations

from math import ceil

from apx.catalog.model import DAY_S, MOST_KEPT_S

DOCUMENTS_PER_RESULT = 1
DOCUMENTS_PER_IDEMPOTENCY_KEY = 1
DOCUMENTS_PER_DEAD_LETTER = 1
READS_PER_POLL = 0
"""While Valkey knows the request, which it does for as long as its result is kept."""
MESSAGES_PER_REQUEST = 1
DELIVERIES_PER_MESSAGE = 1
"""A worker holds an entry until its request has a result: renewing is no delivery, and costs nothing."""

INLINE_BODY_BYTES = 65_536
"""A larger body of a result is an object; a request's is in its message at any size."""
UPLOAD_BYTES = 8 * 1024 * 1024
"""What one call carries of a larger upload, which is announced by one more."""
DOWNLOAD_BYTES = 2 * 1024 * 1024
"""What one call reads of an object, after one that looks for it."""
ENVELOPE_BYTES = 700
"""Of a message beside its body: ids, release, headers, fingerprint, trace, and Pub/Sub's own fields."""
RESULT_BYTES = 450
"""Of a document beside the body: ids, release, headers, times, and its name."""
RECORD_BYTES = 420
"""Of an idempotency record, with its name and the indexes of two fields."""

POLLS_PER_DAY = 43_200
"""A process that follows Firestore looks every two seconds whether it was told all: one read."""
FOLLOWERS_PER_POD = {"edge": 3, "worker": 1, "monitor": 1, "control": 1}
"""Live releases in each process but Envoy; in the router keys, too."""
SCRAPES_PER_DAY = 2_880
SCRAPED_PER_POD = {"edge": 2, "worker": 1, "monitor": 1, "control": 1}
VCPU_PER_POD = {"edge": 2.25, "worker": 0.5, "monitor": 0.25, "control": 0.25}
GIB_PER_POD = {"edge": 3.0, "worker": 0.5, "monitor": 0.5, "control": 0.5}
LEAST_PODS = {"edge": 2, "worker": 2, "monitor": 2, "control": 2}
DELIVERIES_PER_WORKER = 64
VALKEY_NODES = 2
FORWARDING_RULES, ARMOR_POLICIES, ARMOR_RULES = 2, 2, 16

MOST_KEPT_DAYS = ceil(MOST_KEPT_S / DAY_S)
"""Of a large body: no rule removes it earlier."""
OLD_VERSION_DAYS, SOFT_DELETED_DAYS = 30, 7
"""How much longer a removed object is stored, and paid."""
RECOVERABLE_DAYS = 7
"""Firestore keeps what was written so long for recovery to a point in time, whatever was removed."""
BACKUP_DAYS = 14
AUDIT_DAYS, FREE_LOG_DAYS = 400, 30
SUCCEEDED_KEPT, OWN_CALLS_KEPT = 0.1, 0.01
"""Shares of the lines of what succeeded, and of the workloads' audited calls to the stores (stacks/logs.py)."""
