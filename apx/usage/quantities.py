"""From traffic to billed quantities: each line says what is counted, and where the numbers come from.

Everything is for a day of the whole installation. `per_request` has what the code itself decides; the sizes here are
assumptions, and `docs/cost.md` lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Literal

import msgspec

from apx.catalog.model import DAY_S
from apx.usage import per_request as per
from apx.usage.profile import Profile

HOURS, MONTHS = 24.0, 24 / 730
TIB, GIB = 2.0**40, 2.0**30

LEAST_BILLED_BYTES = 1_000
"""Of each publish and each pull; entries of a lane rarely share one."""
HEADERS_BYTES, ANSWER_HEADERS_BYTES = 700, 500
"""Of a client's call and of its answer, as HTTP/1.1 would write them."""
ACCEPTED_BYTES, STATUS_BYTES = 900, 800
"""A 202, and the answer to a poll, with their headers."""
EVENT_BYTES = 120
LOG_ENTRY_BYTES, AUDIT_ENTRY_BYTES, BALANCER_ENTRY_BYTES = 1_000, 1_200, 1_500
"""Entries of Cloud Logging: our line, or Google's, with the names of project, pod and caller."""
BALANCER_LOG_SHARE = 0.01
USAGE_BYTES = 400
"""One event; a batch shares a call, so that the least billed is reached."""
CROSSING_SHARE = 2 / 3
"""Of traffic between pods in three zones and a Valkey in one."""
EDGE_RPS = 500.0
"""Calls a second of one edge pod, before it is scaled."""
SERIES_PER_ENDPOINT, SERIES_PER_PRODUCT = 75.0, {"edge": 50.0, "worker": 30.0}
"""Time series of one `/metrics`, a router's beside those of its products and a monitor's; and those of each product."""
NAT_VMS = 4
"""Nodes of a region that Google makes for the pods: not ours to say."""
KEY_VERSIONS_PER_REGION, SIGNING_KEYS = 4, 2
"""Data keys turn each 90 days; counted after a year."""

Kind = Literal["usage", "fixed"]
Group = Literal["keeping", "edge", "seeing", "backends", "nodes"]


class Line(msgspec.Struct, frozen=True):
    """A quantity of a day, in units of `price`."""

    component: str
    item: str
    price: str
    quantity: float
    says: str
    kind: Kind = "usage"
    group: Group = "keeping"


class Traffic(msgspec.Struct, frozen=True):
    """What the other quantities are made of."""

    profile: Profile
    sync: float
    asynchronous: float
    calls: float
    """Of clients, at the load balancer."""
    attempts: float
    """Calls to backends."""
    pods: dict[str, int]
    """Of the whole installation."""

    @property
    def large_results(self) -> float:
        """Return how many results become objects: none of a synchronous request does."""
        return self.asynchronous * self.profile.large_result_share

    @property
    def result_bytes(self) -> float:
        """Return the size of an average result."""
        profile = self.profile
        small = profile.result_bytes * (1 - profile.large_result_share)
        return small + profile.large_result_bytes * profile.large_result_share

    @property
    def documents(self) -> float:
        """Return how many documents are written."""
        profile = self.profile
        each = per.DOCUMENTS_PER_RESULT + profile.idempotency_share * per.DOCUMENTS_PER_IDEMPOTENCY_KEY
        return self.asynchronous * (each + profile.dead_share * per.DOCUMENTS_PER_DEAD_LETTER)

    @property
    def reads(self) -> float:
        """Return how many documents are read: to see whether listeners tell all, for polls, and for keys."""
        following = sum(per.FOLLOWERS_PER_POD[name] * count for name, count in self.pods.items()) * per.POLLS_PER_DAY
        polls = self.asynchronous * self.profile.polls_per_request * per.READS_PER_POLL
        return following + polls + self.profile.orgs * self.pods["edge"]

    @property
    def uploads(self) -> float:
        """Return how many calls store large results."""
        size = self.profile.large_result_bytes
        return self.large_results * (1 if size <= per.UPLOAD_BYTES else 1 + ceil(size / per.UPLOAD_BYTES))

    @property
    def downloads(self) -> float:
        """Return how many calls read them: each is collected once, if anybody asks."""
        collected = self.large_results * min(1.0, self.profile.polls_per_request)
        return collected * (1 + ceil(self.profile.large_result_bytes / per.DOWNLOAD_BYTES))

    @property
    def received_bytes(self) -> float:
        """Return what clients send."""
        return (self.sync + self.asynchronous) * self.profile.request_bytes + self.calls * HEADERS_BYTES

    @property
    def sent_bytes(self) -> float:
        """Return what clients get."""
        profile = self.profile
        collecting = min(1.0, profile.polls_per_request)
        answers = ACCEPTED_BYTES + (profile.polls_per_request - collecting) * STATUS_BYTES
        answers += collecting * (self.result_bytes + ANSWER_HEADERS_BYTES)
        answers += profile.stream_events_per_request * EVENT_BYTES
        return self.asynchronous * answers + self.sync * (self.result_bytes + ANSWER_HEADERS_BYTES)


def traffic(profile: Profile) -> Traffic:
    """Return what a day of the profile comes to."""
    sync = profile.requests_per_day * profile.sync_share
    asynchronous = profile.requests_per_day - sync
    calls = sync + asynchronous * (1 + profile.polls_per_request)
    attempts = sync + asynchronous * profile.attempts_per_request
    regions = len(profile.regions)
    peak = profile.peak_factor / DAY_S / regions
    running = asynchronous * peak * profile.backend_seconds
    wanted = {"edge": calls * peak / EDGE_RPS, "worker": running / per.DELIVERIES_PER_WORKER}
    pods = {name: max(least, ceil(wanted.get(name, 0))) * regions for name, least in per.LEAST_PODS.items()}
    return Traffic(profile, sync, asynchronous, calls, attempts, pods)


def lines(profile: Profile) -> Iterator[Line]:
    """Yield every line of the bill."""
    day = traffic(profile)
    for part in (_pubsub, _firestore, _storage, _usage, _balancer, _armor, _backends, _zones, _logging, _monitoring):
        yield from part(day)
    yield from _fixed(day)


def _pubsub(day: Traffic) -> Iterator[Line]:
    size = max(LEAST_BILLED_BYTES, day.profile.request_bytes + per.ENVELOPE_BYTES)
    times = per.MESSAGES_PER_REQUEST * (1 + per.DELIVERIES_PER_MESSAGE)
    says = (
        f"{size:,.0f} bytes for each asynchronous request, published once, delivered once (apx/backends/gcp/journal.py)"
    )
    yield Line("Pub/Sub", "requests", "pubsub.throughput", day.asynchronous * times * size / TIB, says)


def _firestore(day: Traffic) -> Iterator[Line]:
    profile, documents = day.profile, day.documents
    says = "a document for each asynchronous request, one more with an Idempotency-Key (apx/backends/gcp/documents.py)"
    yield Line("Firestore", "writes", "firestore.write", documents / 1e5, says)
    lasting = day.asynchronous * profile.dead_share
    says = "what was written and expires: Firestore's time to live, billed as a delete"
    yield Line("Firestore", "deletes", "firestore.delete", (documents - lasting) / 1e5, says)
    says = "each process that follows live releases or keys asks every two seconds (apx/backends/gcp/firestore.py)"
    yield Line("Firestore", "reads", "firestore.read", day.reads / 1e5, says)
    written = _written_bytes(day)
    live = written * (profile.kept_days + 1)  # Firestore removes what has expired within a day
    says = "documents until they expire and are removed, and seven days of what was written, for recovery"
    stored = (live + written * per.RECOVERABLE_DAYS) / GIB * MONTHS
    yield Line("Firestore", "storage", "firestore.storage", stored, says)
    says = f"a whole copy each day, kept for {per.BACKUP_DAYS} days (stacks/firestore.py)"
    yield Line("Firestore", "backups", "firestore.backup", live * per.BACKUP_DAYS / GIB * MONTHS, says)


def _written_bytes(day: Traffic) -> float:
    profile = day.profile
    inline = min(profile.result_bytes, float(per.INLINE_BODY_BYTES)) * (1 - profile.large_result_share)
    return day.asynchronous * (inline + per.RESULT_BYTES + profile.idempotency_share * per.RECORD_BYTES)


def _storage(day: Traffic) -> Iterator[Line]:
    objects = day.large_results
    listed = objects * per.MOST_KEPT_DAYS / 1_000 * HOURS * day.pods["control"] if objects else 0.0
    says = "uploads of results over 64 KiB, and each control's hourly list of all of them (services/control)"
    yield Line("Cloud Storage", "writes and lists", "storage.class-a", (day.uploads + listed) / 1e4, says)
    says = "one look and a read for each 2 MiB of a large result that is collected (apx/backends/gcp/blobs.py)"
    yield Line("Cloud Storage", "reads", "storage.class-b", day.downloads / 1e4, says)
    days = day.profile.large_stored_days
    says = f"large results for {days:,.0f} days: until no result can name them, as old version, soft-deleted"
    stored = objects * day.profile.large_result_bytes * days / GIB * MONTHS
    yield Line("Cloud Storage", "storage", "storage.stored", stored, says)
    says = "an object that is encrypted with our key asks Cloud KMS when it is written and read"
    yield Line("Cloud KMS", "operations", "kms.operations", (day.uploads + day.downloads) / 1e4, says)


def _usage(day: Traffic) -> Iterator[Line]:
    size = day.profile.requests_per_day * USAGE_BYTES
    says = f"an event of {USAGE_BYTES} bytes for each request (stacks/usage.py), published"
    yield Line("Usage events", "published", "pubsub.throughput", size / TIB, says)
    yield Line("Usage events", "exported", "pubsub.export", size / TIB, "the same, written to BigQuery by Pub/Sub")
    yield Line("Usage events", "ingested", "bigquery.ingested", size / GIB, "the same, taken by BigQuery")
    says = "the same, read by control, which tells webhooks of it (services/control)"
    yield Line("Usage events", "read", "pubsub.throughput", size / TIB, says)
    says = f"rows of the last {day.profile.usage_kept_days:,.0f} days: the table has no end"
    stored = size * day.profile.usage_kept_days / GIB * MONTHS
    yield Line("Usage events", "stored", "bigquery.stored", stored, says)


def _balancer(day: Traffic) -> Iterator[Line]:
    says = "what clients send and get, headers included"
    size = (day.received_bytes + day.sent_bytes) / GIB
    yield Line("Load balancer", "data", "lb.data", size, says, group="edge")
    yield Line("Egress", "to clients", "egress.internet", day.sent_bytes / GIB, "what clients get", group="edge")


def _armor(day: Traffic) -> Iterator[Line]:
    says = "every call of a client: a request, and each time that its result is asked for"
    yield Line("Cloud Armor", "requests", "armor.requests", day.calls / 1e6, says, group="edge")


def _backends(day: Traffic) -> Iterator[Line]:
    profile = day.profile
    calls = day.attempts * profile.internet_backend_share
    sent = calls * (profile.request_bytes + HEADERS_BYTES)
    got = calls * (day.result_bytes + ANSWER_HEADERS_BYTES)
    says = "calls to backends outside Google's network, both ways"
    yield Line("Cloud NAT", "data", "nat.data", (sent + got) / GIB, says, group="backends")
    yield Line("Egress", "to backends", "egress.internet", sent / GIB, "what those backends get", group="backends")


def _zones(day: Traffic) -> Iterator[Line]:
    profile = day.profile
    inline = min(day.result_bytes, float(per.INLINE_BODY_BYTES)) + per.RESULT_BYTES
    results = inline * (1 + min(1.0, profile.polls_per_request))
    events = profile.stream_events_per_request * EVENT_BYTES * 2
    size = day.asynchronous * (2 * (profile.request_bytes + per.ENVELOPE_BYTES) + results + events)
    says = "envelopes, results and events to and from Valkey, two thirds of them from another zone"
    yield Line("Between zones", "Valkey", "zones.data", size * CROSSING_SHARE / GIB, says)


def _logging(day: Traffic) -> Iterator[Line]:
    profile = day.profile
    kept = (day.calls + day.sync + day.asynchronous) * profile.log_share
    size = kept * LOG_ENTRY_BYTES + day.calls * BALANCER_LOG_SHARE * BALANCER_ENTRY_BYTES
    says = "a line for each answer, one more for each result or synchronous answer, a hundredth of the load balancer's"
    yield Line("Cloud Logging", "requests", "logging.stored", size / GIB, says, group="seeing")
    audited = (day.documents + day.reads + day.uploads + day.downloads) * profile.audit_share
    size = audited * AUDIT_ENTRY_BYTES
    says = "an entry for each call of ours to Firestore and Cloud Storage (stacks/identity.py, stacks/logs.py)"
    yield Line("Cloud Logging", "audit of data access", "logging.stored", size / GIB, says, group="seeing")
    days = per.AUDIT_DAYS - per.FREE_LOG_DAYS
    says = f"these entries for {days} days more than the {per.FREE_LOG_DAYS} that are included"
    yield Line("Cloud Logging", "audit, kept", "logging.retained", size * days / GIB * MONTHS, says, group="seeing")


def _monitoring(day: Traffic) -> Iterator[Line]:
    endpoints = sum(per.SCRAPED_PER_POD[name] * count for name, count in day.pods.items())
    by_product = sum(day.pods[name] * series for name, series in SERIES_PER_PRODUCT.items()) * day.profile.products
    samples = (endpoints * SERIES_PER_ENDPOINT + by_product) * per.SCRAPES_PER_DAY
    says = "series of every process, each half minute (stacks/workloads.py): by pods and products, not by requests"
    yield Line("Cloud Monitoring", "samples", "monitoring.samples", samples / 1e6, says, group="seeing")


def _fixed(day: Traffic) -> Iterator[Line]:
    regions = len(day.profile.regions)
    vcpu = sum(per.VCPU_PER_POD[name] * count for name, count in day.pods.items()) * HOURS
    memory = sum(per.GIB_PER_POD[name] * count for name, count in day.pods.items()) * HOURS
    told = ", ".join(f"{count} {name}" for name, count in day.pods.items())
    nodes = per.VALKEY_NODES * regions * HOURS
    keys = (KEY_VERSIONS_PER_REGION * regions + SIGNING_KEYS) * MONTHS
    for component, item, price, quantity, says in (
        ("GKE", "clusters", "gke.cluster", regions * HOURS, "one for each region, before the free one"),
        ("GKE", "vCPU", "gke.vcpu", vcpu, f"what pods ask for (stacks/processes.py): {told}"),
        ("GKE", "memory", "gke.memory", memory, "the same"),
        ("Valkey", "nodes", "valkey.node", nodes, "a primary and a replica, STANDARD_SMALL, for each region"),
        ("Valkey", "append-only files", "valkey.aof", nodes, "of each node"),
        ("Load balancer", "rules", "lb.rules", HOURS, "two forwarding rules: up to five cost the same"),
        ("Cloud Armor", "policies", "armor.policy", per.ARMOR_POLICIES * MONTHS, "edge and control (stacks/armor.py)"),
        ("Cloud Armor", "rules", "armor.rule", per.ARMOR_RULES * MONTHS, "of both, with the one that lets pass"),
        ("Cloud NAT", "gateways", "nat.vm", NAT_VMS * regions * HOURS, f"{NAT_VMS} nodes for each region, assumed"),
        ("Cloud NAT", "addresses", "nat.address", regions * HOURS, "one for each region"),
        ("Cloud KMS", "keys", "kms.version", keys, "data keys with their older versions, and those that sign"),
    ):
        yield Line(component, item, price, quantity, says, kind="fixed", group="nodes")
