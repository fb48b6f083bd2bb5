"""The picture of an environment, from what was synthesised: `python -m stacks.diagram FOLDER ENVIRONMENT`.

Each stack with what it has most of, and an arrow from each stack to those whose outputs it uses. Mermaid, as GitHub
draws it; `docs/cloud.md` holds the one of prod.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SHOWN: Mapping[str, str] = {
    "google_compute_global_forwarding_rule": "load balancer's way in",
    "google_compute_security_policy": "Cloud Armor policy",
    "google_compute_backend_service": "backend service",
    "google_certificate_manager_certificate": "certificate",
    "google_compute_network": "VPC",
    "google_compute_subnetwork": "subnet",
    "google_compute_router_nat": "Cloud NAT",
    "google_compute_firewall": "firewall rule",
    "google_container_cluster": "GKE cluster",
    "google_container_node_pool": "node pool",
    "google_gke_backup_backup_plan": "backup plan",
    "kubernetes_deployment_v1": "deployment",
    "kubernetes_network_policy_v1": "network policy",
    "kubernetes_horizontal_pod_autoscaler_v2": "autoscaler",
    "google_pubsub_topic": "Pub/Sub topic",
    "google_pubsub_subscription": "subscription",
    "google_firestore_database": "Firestore database",
    "google_memorystore_instance": "Memorystore for Valkey",
    "google_bigquery_table": "BigQuery table",
    "google_secret_manager_secret": "secret",
    "google_storage_bucket": "bucket",
    "google_artifact_registry_repository": "image registry",
    "google_kms_crypto_key": "KMS key",
    "google_service_account": "service account",
    "google_iam_workload_identity_pool_provider": "way in for GitHub",
    "google_binary_authorization_policy": "Binary Authorization policy",
    "google_monitoring_slo": "SLO",
    "google_monitoring_alert_policy": "alert",
    "google_monitoring_dashboard": "dashboard",
    "google_logging_project_sink": "log sink",
}
"""What is drawn, by resource type; the rest is how these hang together."""
_OUTPUT = re.compile(r"cross-stack-reference-input-([a-z0-9-]+)")


def diagram(stacks: Mapping[str, Mapping[str, Any]], environment: str) -> str:
    """Return the Mermaid text for the synthesised documents of an environment's stacks, by their whole names."""
    lines = ["flowchart TB"]
    for name, document in sorted(stacks.items()):
        short = name.removeprefix(f"{environment}-")
        lines.append(f'  {_id(short)}["<b>{short}</b><br/>{"<br/>".join(_has(document)) or "…"}"]')
    lines += [
        f"  {_id(name.removeprefix(f'{environment}-'))} --> {_id(base.removeprefix(f'{environment}-'))}"
        for name, document in sorted(stacks.items())
        for base in sorted(_uses(document) & stacks.keys())
    ]
    return "\n".join(lines) + "\n"


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the synthesised documents in a folder, by the stacks' names."""
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("stacks/*/cdk.tf.json")}


def _has(document: Mapping[str, Any]) -> Iterator[str]:
    counts = Counter({type_: len(named) for type_, named in document.get("resource", {}).items() if type_ in SHOWN})
    for type_ in SHOWN:
        if count := counts[type_]:
            yield f"{SHOWN[type_]}, {count}" if count > 1 else SHOWN[type_]


def _uses(document: Mapping[str, Any]) -> set[str]:
    states = document.get("data", {}).get("terraform_remote_state", {})
    return {match[1] for name in states if (match := _OUTPUT.fullmatch(name))}


def _id(name: str) -> str:
    return name.replace("-", "_")


def main(arguments: Sequence[str]) -> int:
    """Print the picture of what was synthesised into a folder."""
    folder, environment = arguments
    sys.stdout.write(diagram(read(Path(folder)), environment))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
