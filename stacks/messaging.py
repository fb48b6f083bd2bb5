"""Pub/Sub: requests wait in a topic of their product and region; usage goes to BigQuery and to webhooks."""

from __future__ import annotations

from collections.abc import Sequence

from cdktf_cdktf_provider_google.bigquery_dataset_iam_member import BigqueryDatasetIamMember
from cdktf_cdktf_provider_google.data_google_project import DataGoogleProject
from cdktf_cdktf_provider_google.pubsub_schema import PubsubSchema
from cdktf_cdktf_provider_google.pubsub_subscription import (
    PubsubSubscription,
    PubsubSubscriptionBigqueryConfig,
    PubsubSubscriptionDeadLetterPolicy,
    PubsubSubscriptionExpirationPolicy,
    PubsubSubscriptionRetryPolicy,
)
from cdktf_cdktf_provider_google.pubsub_subscription_iam_member import PubsubSubscriptionIamMember
from cdktf_cdktf_provider_google.pubsub_topic import (
    PubsubTopic,
    PubsubTopicMessageStoragePolicy,
    PubsubTopicSchemaSettings,
)
from cdktf_cdktf_provider_google.pubsub_topic_iam_member import PubsubTopicIamMember
from constructs import Construct

from apx.backends.gcp import names
from apx.catalog.model import DAY_S, Catalog
from apx.webhooks.model import PRODUCT as WEBHOOKS
from stacks.data import Data
from stacks.encryption import Encryption
from stacks.environment import Environment, Region
from stacks.identity import Identity
from stacks.services import SERVICE_AGENTS
from stacks.stack import ApxStack
from stacks.usage import avro_schema

WAITING_S, DEAD_S = 7 * DAY_S, 14 * DAY_S
"""How long a message is kept: as long as a request's deadline may be; as a dead letter, twice that."""
ACK_DEADLINE_S = 60
USAGE_ATTEMPTS = 10
PUBLISH, SUBSCRIBE, LOOK = "roles/pubsub.publisher", "roles/pubsub.subscriber", "roles/pubsub.viewer"
REQUESTERS = ("router", "control")
"""Who publishes requests: control does when it replays dead ones."""
TELLERS = ("control", "monitor")
"""Who publishes deliveries to webhooks: control of requests and budgets, the monitor of rollouts."""
NEVER = PubsubSubscriptionExpirationPolicy(ttl="")


class Messaging(ApxStack):
    """Topics and subscriptions of every asynchronous product, of webhooks, and of usage, in every region."""

    def __init__(
        self,
        scope: Construct,
        environment: Environment,
        identity: Identity,
        encryption: Encryption,
        *,
        data: Data,
        catalog: Catalog,
    ) -> None:
        super().__init__(scope, environment, "messaging")
        self._identity, self._encryption = identity, encryption
        number = DataGoogleProject(self, "project", project_id=environment.project).number
        self._agent = f"serviceAccount:{SERVICE_AGENTS['pubsub'].format(number)}"
        products = sorted(name for name, product in catalog.products.items() if product.spec.mode == "async")
        self._usage_schema = PubsubSchema(self, "usage", name="apx-usage", type="AVRO", definition=avro_schema())
        self._may_write = self._let_write(data)
        for region in environment.regions:
            for product in products:
                self._requests(region, product, REQUESTERS)
            self._requests(region, WEBHOOKS, TELLERS)
            self._usage(region, data)

    def _requests(self, region: Region, product: str, publishers: Sequence[str]) -> None:
        """Make the topic and the subscription of one product's requests, under one name."""
        name = names.requests_topic(region.name, product)
        topic = self._topic(region, name, in_transit=True)
        subscription = PubsubSubscription(
            self,
            f"{name}-subscription",
            name=name,
            topic=topic.id,
            enable_message_ordering=True,
            # A result is created if absent, which holds over redelivery too; exactly-once would halve the throughput.
            enable_exactly_once_delivery=False,
            ack_deadline_seconds=ACK_DEADLINE_S,
            message_retention_duration=f"{WAITING_S}s",
            retain_acked_messages=False,
            expiration_policy=NEVER,
            # No dead letters: an entry comes again each minute until its request has a result, however long that waits.
            # What cannot be carried out is put away by the product's own rules, with its reason.
            retry_policy=PubsubSubscriptionRetryPolicy(minimum_backoff="1s", maximum_backoff="60s"),
        )
        for workload in publishers:
            self._let_publish(workload, topic)
        self._let_subscribe("worker", name, subscription)

    def _usage(self, region: Region, data: Data) -> None:
        """Make the topic of a region's usage, which Pub/Sub itself writes to the table."""
        name = names.usage_topic(region.name)
        # The table is in the home region: held to its own region in transit, Pub/Sub would not deliver there.
        topic = self._topic(
            region,
            name,
            in_transit=False,
            schema=PubsubTopicSchemaSettings(schema=self._usage_schema.id, encoding="JSON"),
        )
        subscription = PubsubSubscription(
            self,
            f"{name}-subscription",
            name=name,
            topic=topic.id,
            ack_deadline_seconds=ACK_DEADLINE_S,
            message_retention_duration=f"{WAITING_S}s",
            expiration_policy=NEVER,
            retry_policy=PubsubSubscriptionRetryPolicy(minimum_backoff="10s", maximum_backoff="600s"),
            bigquery_config=_to_table(data),
            dead_letter_policy=self._dead_letters(region, name),
            depends_on=[self._may_write],
        )
        self._let_put_away(name, subscription)
        self._for_webhooks(region, topic)
        for workload in ("router", "worker"):
            self._let_publish(workload, topic)

    def _for_webhooks(self, region: Region, usage: PubsubTopic) -> None:
        """Let control read what ended, to tell webhooks of it. What it does not forget, it is offered again."""
        name = names.usage_subscription(region.name, "webhooks")
        subscription = PubsubSubscription(
            self,
            f"{name}-subscription",
            name=name,
            topic=usage.id,
            ack_deadline_seconds=ACK_DEADLINE_S,
            message_retention_duration=f"{WAITING_S}s",
            retain_acked_messages=False,
            expiration_policy=NEVER,
            # No dead letters: an event that cannot be forwarded now waits for a store, not for a person.
            retry_policy=PubsubSubscriptionRetryPolicy(minimum_backoff="1s", maximum_backoff="60s"),
        )
        self._let_subscribe("control", name, subscription)

    def _topic(
        self, region: Region, name: str, *, in_transit: bool, schema: PubsubTopicSchemaSettings | None = None
    ) -> PubsubTopic:
        """Make a topic whose messages lie in one region, under its key; `in_transit`, they pass through no other."""
        return PubsubTopic(
            self,
            name,
            name=name,
            kms_key_name=self._encryption.data_keys[region.name].id,
            message_retention_duration=f"{WAITING_S}s",
            message_storage_policy=PubsubTopicMessageStoragePolicy(
                allowed_persistence_regions=[region.name], enforce_in_transit=in_transit
            ),
            schema_settings=schema,
        )

    def _dead_letters(self, region: Region, name: str) -> PubsubSubscriptionDeadLetterPolicy:
        """Make the topic of what could not be delivered, and the subscription that keeps it for people to look at."""
        dead = f"{name}_dead"  # no product's name has a `_`
        topic = self._topic(region, dead, in_transit=False)
        PubsubSubscription(
            self,
            f"{dead}-subscription",
            name=dead,
            topic=topic.id,
            ack_deadline_seconds=ACK_DEADLINE_S,
            message_retention_duration=f"{DEAD_S}s",
            expiration_policy=NEVER,
        )
        self._topic_grant(f"{dead}-pubsub", topic, self._agent)
        return PubsubSubscriptionDeadLetterPolicy(dead_letter_topic=topic.id, max_delivery_attempts=USAGE_ATTEMPTS)

    def _let_publish(self, workload: str, topic: PubsubTopic) -> None:
        self._topic_grant(f"{topic.node.id}-{workload}", topic, self._identity.accounts[workload].member)

    def _topic_grant(self, name: str, topic: PubsubTopic, member: str) -> None:
        PubsubTopicIamMember(self, name, topic=topic.name, role=PUBLISH, member=member)

    def _let_subscribe(self, workload: str, name: str, subscription: PubsubSubscription) -> None:
        """Let a workload take messages, and look at the subscription's settings."""
        member = self._identity.accounts[workload].member
        for role in (SUBSCRIBE, LOOK):
            self._subscription_grant(f"{name}-{workload}-{role.rpartition('.')[2]}", subscription, role, member)

    def _let_put_away(self, name: str, subscription: PubsubSubscription) -> None:
        """Let Pub/Sub take from a subscription what it forwards to the dead letters."""
        self._subscription_grant(f"{name}-pubsub", subscription, SUBSCRIBE, self._agent)

    def _subscription_grant(self, name: str, subscription: PubsubSubscription, role: str, member: str) -> None:
        PubsubSubscriptionIamMember(self, name, subscription=subscription.name, role=role, member=member)

    def _let_write(self, data: Data) -> BigqueryDatasetIamMember:
        """Let Pub/Sub write to the dataset of usage."""
        return BigqueryDatasetIamMember(
            self,
            "usage-pubsub",
            dataset_id=data.usage.dataset_id,
            role="roles/bigquery.dataEditor",
            member=self._agent,
        )


def _to_table(data: Data) -> PubsubSubscriptionBigqueryConfig:
    table = data.usage
    return PubsubSubscriptionBigqueryConfig(
        table=f"{data.environment.project}.{table.dataset_id}.{table.table_id}",
        use_topic_schema=True,
        write_metadata=True,
        drop_unknown_fields=True,  # a field that is published before the table has it stops nothing
    )
