"""Who used what: one event for each request, from Pub/Sub's schema to BigQuery's table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

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

from apx.backends.gcp.names import USAGE_DATASET, USAGE_TABLE
from apx.usage.events import COLUMNS, Column, Kind
from stacks.stack import ApxStack, suppress

TYPES: Mapping[Kind, tuple[str | dict[str, str], str]] = {
    "string": ("string", "STRING"),
    "int64": ("long", "INTEGER"),
    "float64": ("double", "FLOAT"),
    "timestamp": ({"type": "long", "logicalType": "timestamp-micros"}, "TIMESTAMP"),
}
"""What a field of an event is in Avro, and in BigQuery."""
METADATA = (("subscription_name", "STRING"), ("message_id", "STRING"), ("publish_time", "TIMESTAMP"))
"""Columns that Pub/Sub fills, with `attributes`: https://cloud.google.com/pubsub/docs/bigquery"""


def avro_schema() -> str:
    """Return the schema of the events that are published, as JSON of Avro."""
    fields = [{"name": one.name, "type": _avro(one), "doc": one.says} for one in COLUMNS]
    return json.dumps({"type": "record", "name": "Usage", "namespace": "apx", "fields": fields})


def usage_table(stack: ApxStack, key: KmsCryptoKey) -> BigqueryTable:
    """Make the dataset and its table in the home region: a day is a partition, in which an org's rows lie together."""
    protected = stack.environment.data.delete_protection
    dataset = BigqueryDataset(
        stack,
        "usage",
        dataset_id=USAGE_DATASET,
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
        table_id=USAGE_TABLE,
        schema=json.dumps(_columns()),
        time_partitioning=BigqueryTableTimePartitioning(type="DAY", field="finished_at"),
        clustering=["org", "product"],
        encryption_configuration=BigqueryTableEncryptionConfiguration(kms_key_name=key.id),
        deletion_protection=protected,
    )
    if not protected:
        suppress(table, "CKV_GCP_121", "An environment that says so may be taken down with what it holds.")
    return table


def _avro(column: Column) -> Any:
    avro, _ = TYPES[column.kind]
    return ["null", avro] if column.nullable else avro


def _columns() -> list[dict[str, Any]]:
    said = [
        {
            "name": column.name,
            "type": TYPES[column.kind][1],
            "mode": "NULLABLE" if column.nullable else "REQUIRED",
            "description": column.says,
        }
        for column in COLUMNS
    ]
    filled = [{"name": name, "type": kind, "mode": "NULLABLE"} for name, kind in (*METADATA, ("attributes", "JSON"))]
    return [*said, *filled]
