"""Google's services by name, for whoever names them without making a stack."""

from __future__ import annotations

SERVICE_AGENTS = {
    "pubsub": "service-{}@gcp-sa-pubsub.iam.gserviceaccount.com",
    "firestore": "service-{}@gcp-sa-firestore.iam.gserviceaccount.com",
    "container": "service-{}@container-engine-robot.iam.gserviceaccount.com",
    "compute": "service-{}@compute-system.iam.gserviceaccount.com",
    "bigquery": "bq-{}@bigquery-encryption.iam.gserviceaccount.com",
    "memorystore": "service-{}@gcp-sa-memorystore.iam.gserviceaccount.com",
    "artifactregistry": "service-{}@gcp-sa-artifactregistry.iam.gserviceaccount.com",
    "gkebackup": "service-{}@gcp-sa-gkebackup.iam.gserviceaccount.com",
    "secretmanager": "service-{}@gcp-sa-secretmanager.iam.gserviceaccount.com",
}
"""Google's own accounts that encrypt with our keys on our behalf."""
