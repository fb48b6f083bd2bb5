"""What a reader of usage makes of messages that another version has written."""

from __future__ import annotations

from google.pubsub_v1.types import PubsubMessage, ReceivedMessage

from apx.backends.gcp.usage import _readable, encoded
from tests.unit.webhooks.examples import usage_event


def test_a_message_that_cannot_be_read_keeps_back_no_other() -> None:
    good = encoded(usage_event())
    messages = [good, b"{", b"[]", b"{}", good.replace(b'"req_1"', b"1"), good]
    received = [ReceivedMessage(message=PubsubMessage(data=data)) for data in messages]
    assert list(_readable(received)) == [usage_event(), usage_event()]
