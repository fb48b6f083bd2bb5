"""Who used what: one event for each request, from Pub/Sub's schema to BigQuery's table."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_google.bigquery_dataset import (
    BigqueryDataset,
    BigqueryDatasetDefaultEncryptionConfiguration,
)
from cdktf_cdktf_provider_google.bigquery_table import (
    BigqueryTable,
    BigqueryTableEncryptionConfiguration,
    BigqueryTableTimePartitioning,
)
from cdktf_cdktf_provider_google.kms_crypto_key import KmsCryptoKey

from stacks.stack import ApxStack, suppress

DATASET, TABLE = "apx_usage", "usage"


class Column(msgspec.Struct, frozen=True):
    """One field of an event: its types in Avro and in BigQuery, and what it says."""

    name: str
    avro: str | dict[str, str]
    bigquery: str
    says: str


COLUMNS = (
    Column("at", {"type": "long", "logicalType": "timestamp-micros"}, "TIMESTAMP", "When the request ended."),
    Column("request", "string", "STRING", "The request's id: an event that came twice has it twice."),
    Column("org", "string", "STRING", "Whose it was."),
    Column("product", "string", "STRING", "What was called."),
    Column("plan", "string", "STRING", "Under which plan."),
    Column("release", "string", "STRING", "The digest of the release that admitted it."),
    Column("outcome", "string", "STRING", "succeeded, failed, expired, cancelled or denied."),
    Column("cost", "double", "FLOAT", "What the policy's decision counts it as."),
    Column("request_bytes", "long", "INTEGER", "Size of the body that came."),
    Column("response_bytes", "long", "INTEGER", "Size of the body that went."),
)
"""No body, no key and no address: what an org did stays in its region."""
METADATA = (("subscription_name", "STRING"), ("message_id", "STRING"), ("publish_time", "TIMESTAMP"))
"""Columns that Pub/Sub fills, with `attributes`: https://cloud.google.com/pubsub/docs/bigquery"""


def avro_schema() -> str:
    """Return the schema of the events that are published, as JSON of Avro."""
    fields = [{"name": column.name, "type": column.avro, "doc": column.says} for column in COLUMNS]
    return json.dumps({"type": "record", "name": "Usage", "namespace": "apx", "fields": fields})


def usage_table(stack: ApxStack, key: KmsCryptoKey) -> BigqueryTable:
    """Make the dataset and its table in the home region: a day is a partition, in which an org's rows lie together."""
    protected = stack.environment.data.delete_protection
    dataset = BigqueryDataset(
        stack,
        "usage",
        dataset_id=DATASET,
        location=stack.environment.home.name,
        description="Who used what",
        default_encryption_configuration=BigqueryDatasetDefaultEncryptionConfiguration(kms_key_name=key.id),
        delete_contents_on_destroy=False,
        lifecycle=TerraformResourceLifecycle(prevent_destroy=protected),
    )
    table = BigqueryTable(
        stack,
        "usage-table",
        dataset_id=dataset.dataset_id,
        table_id=TABLE,
        schema=json.dumps(_columns()),
        time_partitioning=BigqueryTableTimePartitioning(type="DAY", field="at"),
        clustering=["org", "product"],
        encryption_configuration=BigqueryTableEncryptionConfiguration(kms_key_name=key.id),
        deletion_protection=protected,
    )
    if not protected:
        suppress(table, "CKV_GCP_121", "An environment that says so may be taken down with what it holds.")
    return table


def _columns() -> list[dict[str, Any]]:
    said = [
        {"name": column.name, "type": column.bigquery, "mode": "REQUIRED", "description": column.says}
        for column in COLUMNS
    ]
    filled = [{"name": name, "type": kind, "mode": "NULLABLE"} for name, kind in (*METADATA, ("attributes", "JSON"))]
    return [*said, *filled]
