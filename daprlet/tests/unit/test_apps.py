"""What a replica makes of its app's subscriptions."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from daprlet.app_channel import AppChannel
from daprlet.apps import Replica
from daprlet.metrics import Metrics
from daprlet.resources import Resources
from daprlet.subscriptions import Subscription


def replica(scopes: dict[str, Any]) -> Replica:
    subscription = Subscription("bus", "orders", (), "/orders", dead_letter_topic="dead")
    channel = SimpleNamespace(programmatic=[subscription], settings=SimpleNamespace(app_id="shop"))
    resources = SimpleNamespace(subscriptions=[], pubsubs={"bus": SimpleNamespace(settings=scopes)})
    made = Replica(cast("AppChannel", channel), cast("Resources", resources), cast("Metrics", None))
    made.refresh()
    return made


@pytest.mark.parametrize("scopes", [{}, {"publishingScopes": {"shop": {"dead", "bills"}}}])
def test_dead_letters_go_where_the_app_may_publish(scopes: dict[str, Any]) -> None:
    assert replica(scopes).subscriptions["bus", "orders"].dead_letter_topic == "dead"


def test_nothing_is_moved_to_a_dead_letter_topic_the_app_may_not_publish_to(caplog: pytest.LogCaptureFixture) -> None:
    """As in Dapr, which publishes dead letters with the app's rights; it is said, and nothing is lost."""
    scopes = {"publishingScopes": {"shop": {"bills"}}}
    assert replica(scopes).subscriptions["bus", "orders"].dead_letter_topic == ""
    assert "dead-letter topic dead" in caplog.text
