"""What traffic an estimate is for: `profiles/<name>.yaml`, or a file of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import yaml
from msgspec import Meta

from apx.errors import Misconfigured, NotFound
from apx.usage import per_request as per
from apx.usage.prices import REGIONS

FOLDER = Path(__file__).with_name("profiles")
DEFAULT = "default"

Amount = Annotated[float, Meta(ge=0, le=1e12)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Traffic of one installation. What a file leaves out is as in `profiles/default.yaml`."""

    says: str = ""
    requests_per_day: Amount = 1_000_000.0
    sync_share: Share = 0.0
    """Answered through the edge at once; nothing of them is kept."""
    idempotency_share: Share = 0.25
    """Of asynchronous requests, those with an Idempotency-Key."""
    polls_per_request: Amount = 2.0
    """Further calls of the client for an asynchronous request: one that waits, one that collects."""
    stream_events_per_request: Amount = 0.0
    request_bytes: Amount = 1_000.0
    result_bytes: Amount = 1_000.0
    large_result_share: Share = 0.0
    """Results over 64 KiB, and how large they are."""
    large_result_bytes: Amount = 1_000_000.0
    large_stored_days: Amount = float(per.MOST_KEPT_DAYS + per.OLD_VERSION_DAYS + per.SOFT_DELETED_DAYS)
    """How long such a result is stored and paid, whenever it expires."""
    kept_days: Annotated[float, Meta(ge=0, le=30)] = 1.0
    """Until a result expires: the product's `retention_s`."""
    attempts_per_request: Annotated[float, Meta(ge=1, le=100)] = 1.02
    dead_share: Share = 0.0001
    internet_backend_share: Share = 1.0
    """Calls to backends that leave Google's network, through Cloud NAT."""
    backend_seconds: Amount = 1.0
    peak_factor: Annotated[float, Meta(ge=1, le=1000)] = 4.0
    """The busiest second against the day's average: decides how many pods there are."""
    orgs: Amount = 50.0
    products: Amount = 5.0
    log_share: Share = per.SUCCEEDED_KEPT
    """Of the line for each answer and each delivery, how many Cloud Logging keeps; the code writes all."""
    audit_share: Share = per.OWN_CALLS_KEPT
    """Of the workloads' own calls to Firestore and Cloud Storage, how many the audit log keeps."""
    usage_kept_days: Amount = 365.0
    regions: Annotated[tuple[str, ...], Meta(min_length=1, max_length=16)] = ("us-central1",)


def profiles() -> list[str]:
    """Return the names of the profiles that come with APX."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_profile(name: str) -> Profile:
    """Read a profile by its name, or by its path. Raises `NotFound`, `Misconfigured`."""
    path = FOLDER / f"{name}.yaml" if name in profiles() else Path(name)
    try:
        content = path.read_bytes()
    except OSError as error:
        known = ", ".join(profiles())
        raise NotFound(f"{name}: {error.strerror}: give a file, or one of the profiles {known}") from error
    try:
        return checked(msgspec.yaml.decode(content, type=Profile))
    except (msgspec.MsgspecError, yaml.YAMLError, UnicodeDecodeError, Misconfigured) as error:
        raise Misconfigured(f"{path}: {error}") from error


def checked(profile: Profile) -> Profile:
    """Return the profile. Raises `Misconfigured` for regions that no price is known of, or that come twice."""
    if unknown := [region for region in profile.regions if region not in REGIONS]:
        raise Misconfigured(f"regions: {unknown[0]!r} has no prices here: known are {', '.join(REGIONS)}")
    if len(set(profile.regions)) < len(profile.regions):
        raise Misconfigured(f"regions: {', '.join(profile.regions)}: one comes twice")
    return profile
