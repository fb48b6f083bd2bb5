"""The Firestore database of a region: what expires, what is not indexed, what is backed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_google.firestore_backup_schedule import (
    FirestoreBackupSchedule,
    FirestoreBackupScheduleDailyRecurrence,
)
from cdktf_cdktf_provider_google.firestore_database import FirestoreDatabase, FirestoreDatabaseCmekConfig
from cdktf_cdktf_provider_google.firestore_field import (
    FirestoreField,
    FirestoreFieldIndexConfig,
    FirestoreFieldTtlConfig,
)
from cdktf_cdktf_provider_google.firestore_index import FirestoreIndex, FirestoreIndexFields
from cdktf_cdktf_provider_google.kms_crypto_key import KmsCryptoKey

from apx.backends.gcp import names
from stacks.environment import Region
from stacks.stack import ApxStack

EXPIRING: Mapping[str, str] = {
    names.RESULTS: names.EXPIRES,
    names.IDEMPOTENCY: names.EXPIRES,
    names.KEY_CHANGES: names.FORGET,
}
"""Collections whose documents Firestore removes, and the field that says when."""
UNASKED: Sequence[tuple[str, str]] = (
    (names.RESULTS, names.RECORD),
    (names.DEAD_LETTERS, names.RECORD),
    (names.KEYS, names.RECORD),
    (names.ROLLOUTS, names.STATE),
    (names.AUDIT, names.ENTRY),
    (names.CHAIN, names.ENTRY),
    (names.WEBHOOKS, names.RECORD),
    (names.WEBHOOKS, names.DELIVERED),
    (names.IDEMPOTENCY, names.CREATED),
)
"""Fields that nothing is looked for by: each index of one would only make writes slower, and be stored."""


def firestore(stack: ApxStack, region: Region, key: KmsCryptoKey) -> FirestoreDatabase:
    """Make a region's database with its fields, index and backups, encrypted with the region's key."""
    database = _database(stack, region, key)
    for collection, field in EXPIRING.items():
        _field(stack, region, database, collection, field, expires=True)
    for collection, field in UNASKED:
        _field(stack, region, database, collection, field, expires=False)
    _newest_first(stack, region, database)
    _backups(stack, region, database)
    return database


def _database(stack: ApxStack, region: Region, key: KmsCryptoKey) -> FirestoreDatabase:
    protected = stack.environment.data.delete_protection
    return FirestoreDatabase(
        stack,
        f"database-{region.name}",
        name=names.database(region.name),
        location_id=region.name,
        type="FIRESTORE_NATIVE",
        point_in_time_recovery_enablement="POINT_IN_TIME_RECOVERY_ENABLED",
        delete_protection_state="DELETE_PROTECTION_ENABLED" if protected else "DELETE_PROTECTION_DISABLED",
        deletion_policy="ABANDON" if protected else "DELETE",
        cmek_config=FirestoreDatabaseCmekConfig(kms_key_name=key.id),
        lifecycle=TerraformResourceLifecycle(prevent_destroy=protected),
    )


def _field(
    stack: ApxStack, region: Region, database: FirestoreDatabase, collection: str, field: str, *, expires: bool
) -> None:
    """Index a field not at all: times that only grow would make every write meet in one place of the index."""
    FirestoreField(
        stack,
        f"{collection}-{field.replace('_', '-')}-{region.name}",
        database=database.name,
        collection=collection,
        field=field,
        index_config=FirestoreFieldIndexConfig(),
        ttl_config=FirestoreFieldTtlConfig() if expires else None,
    )


def _newest_first(stack: ApxStack, region: Region, database: FirestoreDatabase) -> None:
    """Let the dead letters of one product, of one org of it, and of one org at all, be read from the newest on."""
    asked = {"newest": ("product",), "newest-of-org": ("product", "org"), "newest-of-an-org": ("org",)}
    for name, fields in asked.items():
        FirestoreIndex(
            stack,
            f"{names.DEAD_LETTERS}-{name}-{region.name}",
            database=database.name,
            collection=names.DEAD_LETTERS,
            fields=[
                *(FirestoreIndexFields(field_path=field, order="ASCENDING") for field in fields),
                FirestoreIndexFields(field_path="at_ms", order="DESCENDING"),
            ],
        )


def _backups(stack: ApxStack, region: Region, database: FirestoreDatabase) -> None:
    """Keep a copy of each day: recovery to a point in time ends after seven."""
    FirestoreBackupSchedule(
        stack,
        f"backup-{region.name}",
        database=database.name,
        retention=f"{stack.environment.data.backup_retention_days * 86_400}s",
        daily_recurrence=FirestoreBackupScheduleDailyRecurrence(),
    )
