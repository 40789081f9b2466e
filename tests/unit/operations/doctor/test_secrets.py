from tests.unit.operations.doctor.shapes import codes, component, deployment, found, healthy
from todo.contracts import names
from todo.operations.doctor import secrets
from todo.operations.doctor.findings import Code
from todo.operations.doctor.seen import Reference, Seen

REFERENCES = [*secrets.of_component(component("pubsub-kafka.yaml"))]
GOOD = {
    "KAFKA_BOOTSTRAP_SERVERS": "broker:9092",
    "KAFKA_SASL_USERNAME": "user",
    "KAFKA_SASL_PASSWORD": "hidden-value",
    "KAFKA_CA_CERT": "",
}


def looked(values: dict[str, str] | None, *more: Reference) -> Seen:
    return healthy(references=[*REFERENCES, *more], secrets=secrets.look({"kafka-secrets": values}))


def test_secrets_that_are_as_they_should_be() -> None:
    """No authority of one's own is fine, and a certificate ends with a line end."""
    assert not found(looked(GOOD))
    assert not found(looked(GOOD | {"KAFKA_CA_CERT": "-----BEGIN CERTIFICATE-----\n...\n"}))


def test_a_secret_that_is_not_there() -> None:
    (finding,) = found(looked(None))
    assert (finding.code, finding.subject) == (Code.SECRET_MISSING, "kafka-secrets")
    assert "component pubsub-kafka (saslPassword) refers to it" in finding.evidence


def test_a_key_that_is_misspelt() -> None:
    wrong = {key: value for key, value in GOOD.items() if key != "KAFKA_SASL_PASSWORD"} | {
        "KAFKA_PASSWORD": "hidden-value"
    }
    (finding,) = found(looked(wrong))
    assert finding.code is Code.SECRET_KEY_MISSING
    assert "KAFKA_PASSWORD" in finding.evidence[0]
    assert "hidden-value" not in repr(finding)


def test_values_that_are_empty_or_end_with_a_line() -> None:
    assert codes(looked(GOOD | {"KAFKA_SASL_USERNAME": ""})) == [Code.SECRET_KEY_EMPTY]
    assert codes(looked(GOOD | {"KAFKA_SASL_PASSWORD": "hidden-value\n"})) == [Code.SECRET_BLANKS]


def test_what_may_be_absent_is_no_finding() -> None:
    assert not found(looked(GOOD, Reference("kafka-secrets", "EXTRA", "somebody", optional=True)))
    assert not found(healthy(references=[Reference("unseen", "KEY", "somebody")], secrets={}))


def test_everything_that_a_pod_takes_from_secrets() -> None:
    """Environment, whole environments, volumes, and what the sidecar's annotations name."""
    template = deployment(names.BACKEND)["spec"]["template"]
    template["metadata"]["annotations"]["dapr.io/api-token-secret"] = "token-secret"
    container = template["spec"]["containers"][0]
    container["env"] = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "one", "key": "K"}}}, {"name": "B"}]
    container["envFrom"] = [{"secretRef": {"name": "two", "optional": True}}, {"configMapRef": {"name": "no"}}]
    template["spec"]["volumes"] = [
        {"name": "v", "secret": {"secretName": "three", "items": [{"key": "F", "path": "f"}]}},
        {"name": "p", "projected": {"sources": [{"secret": {"name": "four"}}, {"serviceAccountToken": {}}]}},
        {"name": "e", "emptyDir": {}},
    ]
    refs = {(one.secret, one.key, one.optional) for one in secrets.of_template("backend", template)}
    assert refs == {
        ("token-secret", "token", False),
        ("one", "K", False),
        ("two", None, True),
        ("three", "F", False),
        ("four", None, False),
    }
