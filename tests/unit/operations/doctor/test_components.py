from typing import Any

import pytest

from tests.unit.operations.doctor.shapes import cluster, codes, component, found, healthy, replica, resources
from todo.contracts import names
from todo.operations.doctor import logs
from todo.operations.doctor.findings import Code

RECURRING = names.RECURRING


def pubsub(file: str = "pubsub-redis.yaml", **settings: str) -> dict[str, Any]:
    """The component with other settings."""
    changed = component(file)
    items = {one["name"]: one for one in changed["spec"]["metadata"]}
    items |= {name: {"name": name, "value": value} for name, value in settings.items()}
    changed["spec"]["metadata"] = list(items.values())
    return changed


def test_a_component_that_is_not_there() -> None:
    without = [one for one in resources() if one.name != names.STATE_STORE]
    (finding,) = found(healthy(resources=without))
    assert (finding.code, finding.subject) == (Code.COMPONENT_MISSING, names.STATE_STORE)
    assert names.PUBSUB in finding.evidence[0]


def test_a_component_that_is_not_for_everybody_who_needs_it() -> None:
    narrow = pubsub() | {"scopes": ["backend", "notification-service", "email-delivery"]}
    (finding,) = found(healthy(resources=resources(narrow)))
    assert finding.code is Code.COMPONENT_MISSING
    assert finding.to_do == "add recurring-service to its scopes"


def test_a_component_that_a_sidecar_has_not_loaded() -> None:
    metadata = replica(RECURRING).sidecar
    assert metadata is not None
    assert metadata.metadata is not None
    fewer = {**metadata.metadata, "components": metadata.metadata["components"][:1]}
    others = [replica(app) for app in names.APPS if app is not RECURRING]
    looked = found(healthy(replicas=[*others, replica(RECURRING, metadata=fewer)]))
    assert {one.code for one in looked} == {Code.COMPONENT_NOT_LOADED}
    assert {one.subject for one in looked} == {names.STATE_STORE, "secrets-kubernetes"}


def test_a_component_that_waits_for_a_store_nobody_has() -> None:
    """The guide's auth.secretStore: kubernetes-secrets; that nobody loads it follows from that."""
    parked = pubsub() | {"auth": {"secretStore": "kubernetes-secrets"}}
    (finding,) = found(healthy(resources=resources(parked)))
    assert finding.code is Code.COMPONENT_PARKED
    assert finding.to_do.startswith("did you mean 'kubernetes'")


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"consumerID": "dapr-redis-consumer"}, Code.CONSUMER_GROUP),
        ({"consumerID": "{podName}"}, Code.CONSUMER_GROUP),
        ({"redisHots": "redis:6379"}, Code.COMPONENT_WRONG),
    ],
)
def test_a_component_that_says_what_nobody_wants(settings: dict[str, str], code: Code) -> None:
    assert codes(healthy(resources=resources(pubsub(**settings)))) == [code]


def test_a_mechanism_that_dapr_takes_for_plain() -> None:
    """The guide's SCRAM-SHA-256."""
    wrong = pubsub("pubsub-kafka.yaml", saslMechanism="SCRAM-SHA-256")
    assert codes(healthy(resources=resources(wrong))) == [Code.BROKER_MECHANISM]


BEGIN = (
    'time="2026-11-25T03:15:42.6Z" level=fatal msg="Fatal error from runtime: process component pubsub-kafka error: '
    "[INIT_COMPONENT_FAILURE]: initialization error occurred for pubsub-kafka (pubsub.kafka/v1): "
    "[INIT_COMPONENT_FAILURE]: initialization error occurred for pubsub-kafka (pubsub.kafka/v1): "
)
REDIS = BEGIN.replace("pubsub.kafka", "pubsub.redis")
STATE = BEGIN.replace("pubsub-kafka", names.STATE_STORE).replace("pubsub.kafka/v1", "state.postgresql/v2")
END = '" app_id=x instance=vm scope=dapr.runtime type=log ver=unknown'
KAFKA = (
    "failed to get latest Kafka clients for initialization: kafka: client has run out of available brokers to talk to: "
)
# Of daprd 1.18.2
SAID = [
    (BEGIN + KAFKA + "dial tcp: lookup nohost.invalid on 10.255.255.53:53: no such host", Code.BROKER_ADDRESS),
    (BEGIN + KAFKA + "dial tcp 127.0.0.1:37145: connect: connection refused", Code.BROKER_REFUSED),
    (BEGIN + KAFKA + r"read tcp 127.0.0.1:55524->127.0.0.1:46555: i/o timeout\ninit timeout for component",
     Code.BROKER_TIMEOUT),
    (BEGIN + KAFKA + "kafka server: SASL Authentication failed: Authentication failed during authentication due to "
     "invalid credentials with SASL mechanism SCRAM-SHA-256", Code.BROKER_CREDENTIALS),
    (BEGIN + KAFKA.removesuffix(": "), Code.BROKER_MECHANISM),
    (BEGIN + KAFKA + "unexpected EOF", Code.BROKER_TLS),
    (BEGIN + "kafka error: invalid value for 'authType' attribute", Code.BROKER_SETTING),
    (REDIS + "redis streams: error connecting to redis at h:6379: dial tcp: lookup h: no such host",
     Code.BROKER_ADDRESS),
    (REDIS + "redis streams: error connecting to redis at h:6379: dial tcp h:6379: connect: connection refused",
     Code.BROKER_REFUSED),
    (STATE + r"failed to ping the database: failed to connect to `user=a database=x`:\n\t127.0.0.1:37145 (127.0.0.1): "
     "dial error: dial tcp 127.0.0.1:37145: connect: connection refused", Code.DATABASE_AWAY),
    (STATE + "something that nobody has seen yet", Code.COMPONENT_FAILED),
]  # fmt: skip


@pytest.mark.parametrize(("line", "code"), SAID)
def test_what_daprd_says_of_a_component_that_does_not_start(line: str, code: Code) -> None:
    """The last line of each component tells the fault, in words without the log's own."""
    (failure,) = logs.failures(f"{line.replace('msg=', 'msg=earlier ')}{END}\n{line}{END}\n")
    assert failure.code is code
    assert "INIT_COMPONENT" not in failure.why
    assert "app_id" not in failure.why


def test_a_broker_that_only_daprd_can_see() -> None:
    """Its log is the evidence, and what follows from the fault is not told."""
    name = RECURRING.app_id
    seen = cluster(said={(name, "daprd"): SAID[1][0] + END})
    seen.replicas = [replica(app) for app in names.APPS if app is not RECURRING]
    seen.replicas.append(replica(RECURRING, away="nothing listens", metadata=None))
    (finding,) = found(seen)
    assert (finding.code, finding.subject) == (Code.BROKER_REFUSED, names.PUBSUB)
    assert finding.evidence[0].startswith(f"daprd of {name} says: failed to get latest Kafka clients")
