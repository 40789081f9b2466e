"""Each mistake in a resource file is found, on its line, with what happens and what to write instead."""

import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent, indent

import pytest

from daprlet.checker import Finding, Severity, Surroundings, check, dapr
from daprlet.errors import SetupError

APPS = ["shop", "mailer"]
SURROUNDINGS = Surroundings(dapr(), APPS, "here", stores=["kubernetes"])
RESILIENCY = """
    apiVersion: dapr.io/v1alpha1
    kind: Resiliency
    metadata: {name: policy, namespace: here}
    spec:
      policies: {retries: {often: {policy: constant, duration: 5s, maxRetries: 400}}}
      targets: {components: {bus: {inbound: {retry: often}}}}
"""
SUBSCRIPTION = """
    apiVersion: dapr.io/v2alpha1
    kind: Subscription
    metadata: {name: things}
    spec: {pubsubname: bus, topic: things, routes: {default: /things}, deadLetterTopic: dead}
"""


def component(kind: str, *entries: str, version: str = "v1", name: str = "bus", more: str = "scopes: [shop]") -> str:
    listed = indent("\n".join(f"- {entry}" for entry in entries), "    ") or "    []"
    return (
        f"apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: {name}\nspec:\n  type: {kind}\n"
        f"  version: {version}\n  metadata:\n{listed}\n{more}\n"
    )


def kafka(*entries: str, more: str = "scopes: [shop]") -> str:
    given = [re.search(r"name: (\w+)", one)[1] for one in entries]  # type: ignore[index]
    base = {"brokers": "b:9092", "authType": "none", "initialOffset": "oldest"}
    kept = [f"{{name: {name}, value: {value}}}" for name, value in base.items() if name not in given]
    return component("pubsub.kafka", *kept, *entries, more=more)


def redis(*entries: str, more: str = "scopes: [shop]") -> str:
    return component("pubsub.redis", "{name: redisHost, value: r}", *entries, more=more)


def findings(folder: Path, *files: str) -> list[Finding]:
    for number, content in enumerate(files):
        (folder / f"{number}.yaml").write_text(dedent(content))
    return check([folder], SURROUNDINGS)


def named(found: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(one.rule, one.key) for one in found]


@pytest.mark.parametrize(
    "files",
    [
        [kafka(), RESILIENCY],
        [redis(), RESILIENCY, SUBSCRIPTION],
        [kafka('{name: clientId, value: "{appID}"}'), RESILIENCY],  # Dapr ignores case here
        [kafka('{name: consumerGroup, value: "{appID}"}', more=""), RESILIENCY],
        [kafka("{name: consumerGroup, value: fixed}"), RESILIENCY],  # one app alone sees it
        [redis('{name: redeliverInterval, value: "30000"}', "{name: processingTimeout, value: 60s}"), RESILIENCY],
        [component("state.postgresql", "{name: url, secretKeyRef: {name: a}}", version="v2")],
        [
            component("pubsub.pulsar", "{name: host, secretKeyRef: {name: p, key: h}}")
        ],  # what it does with failures is not known
        ["apiVersion: apps/v1\nkind: Deployment\nmetadata: {nmae: x}\n"],
    ],
)
def test_what_is_right_is_not_reported(tmp_path: Path, files: list[str]) -> None:
    """Nor what is none of Dapr's."""
    assert findings(tmp_path, *files) == []


@pytest.mark.parametrize(
    ("content", "rule", "key", "message"),
    [
        (kafka("{name: borkers, value: b}"), "setting", "spec.metadata[borkers]", "'brokers'"),
        (kafka("{name: acks, value: all}"), "setting", "spec.metadata[acks]", "producerRequiredAcks"),
        (kafka("{name: authType, value: sasl_ssl}"), "value", "spec.metadata[authType]", "ends with .*'password'"),
        (kafka("{name: authType, value: None}"), "value", "spec.metadata[authType]", "only 'none' in lower case"),
        (kafka("{name: initialOffset, value: newest}"), "offset", "spec.metadata[initialOffset]", "oldest"),
        (kafka("{name: initialoffset, value: oldest}"), "spelling", "spec.metadata[initialoffset]", "'initialOffset'"),
        (kafka("{name: initialOffset, value: first}"), "value", "spec.metadata[initialOffset]", "'first' is not one"),
        (kafka("{name: maxMessageBytes, value: 4MB}"), "value", "spec.metadata[maxMessageBytes]", "whole number"),
        (kafka("{name: sessionTimeout, value: soon}"), "value", "spec.metadata[sessionTimeout]", "not a duration"),
        (kafka("{name: consumeRetryEnabled, value: maybe}"), "value", "spec.metadata[consumeRetryEnabled]", "neither"),
        (kafka("{name: consumeRetryEnabled, value: false}"), "retry", "spec.metadata[consumeRetryEnabled]", "skipped"),
        (kafka("{name: skipVerify, value: true}"), "tls", "spec.metadata[skipVerify]", "believed"),
        (kafka("{name: brokers, value: c}", "{name: Brokers, value: c}"), "twice", "spec.metadata[Brokers]", "twice"),
        (kafka("{name: version, value: 2.1.0, envRef: V}"), "sources", "spec.metadata[version]", "more than one"),
        (kafka("{name: consumerGroup, value: one}", more=""), "group", "spec.metadata[consumerGroup]", "one group"),
        (kafka('{name: consumerID, value: "{uuid}"}'), "group", "spec.metadata[consumerID]", "every replica"),
        (kafka("{name: publishingScopes, value: shap=a}"), "scope", "spec.metadata[publishingScopes]", "'shop'"),
        (kafka("{name: publishingScopes, value: shop}"), "scope", "spec.metadata[publishingScopes]", "no grant"),
        (kafka(more="scopes: [shap]"), "scope", "scopes[0]", "did you mean 'shop'"),
        (kafka(more="scope: [shop]"), "key", "scope", "did you mean 'scopes'"),
        (kafka(more="auth: {secretStore: vault}"), "secretStore", "auth.secretStore", "answer 404"),
        (redis('{name: redeliverInterval, value: "30s"}'), "value", "spec.metadata[redeliverInterval]", "'30000'"),
        (redis('{name: processingTimeout, value: "0"}'), "retry", "spec.metadata[processingTimeout]", "off"),
        (redis("{name: maxLenApprox, value: 100}"), "trimming", "spec.metadata[maxLenApprox]", "acknowledged"),
        (redis("{name: redisPassword, value: x}"), "secret", "spec.metadata[redisPassword].value", "secretKeyRef"),
        (redis("{name: redisHost, valeu: x}"), "key", "spec.metadata[redisHost].valeu", "did you mean 'value'"),
        (component("pubsub.kafak"), "type", "spec.type", "'pubsub.kafka'"),
        (component("jobs.scheduler"), "type", "spec.type", "jobs need the Scheduler"),
        (component("state.postgresql", version="v3"), "version", "spec.version", "did you mean"),
        (component("state.postgresql", version="v2"), "required", "spec.metadata", "'connectionString' is required"),
        (component("state.sqlite", "{name: connectionString, value: x}"), "cleanup", "spec.metadata", "never deleted"),
        (
            component("state.postgresql", "{name: host, value: h}", "{name: tableName, value: t}", version="v2"),
            "setting",
            "spec.metadata[tableName]",
            "'metadataTableName'|'tablePrefix'",
        ),
    ],
)
def test_a_mistake_in_a_component(tmp_path: Path, content: str, rule: str, key: str, message: str) -> None:
    """Unknown names, values Dapr does not know, and values that lose events."""
    found = {(one.rule, one.key): one for one in findings(tmp_path, content, RESILIENCY)}
    assert (rule, key) in found, found
    assert re.search(message, str(found[rule, key])), found[rule, key]


def test_what_a_way_of_logging_in_needs(tmp_path: Path) -> None:
    """User, password and mechanism; without the last one Dapr says PLAIN."""
    found = findings(tmp_path, kafka("{name: authType, value: password}"), RESILIENCY)
    missing = {re.search(r"'(\w+)'", one.problem)[1] for one in found if one.rule == "required"}  # type: ignore[index]
    assert missing == {"saslUsername", "saslPassword", "saslMechanism"}


@pytest.mark.parametrize(
    ("content", "rule", "key", "message"),
    [
        (RESILIENCY.replace("bus:", "buss:"), "target", "spec.targets.components.buss", "did you mean 'bus'"),
        (RESILIENCY.replace("retry: often", "retry: oftn"), "policy", "inbound.retry", "did you mean 'often'"),
        (RESILIENCY.replace("retries:", "retry:"), "key", "spec.policies.retry", "did you mean 'retries'"),
        (RESILIENCY.replace("constant", "linear"), "value", "spec.policies.retries.often.policy", "constant or"),
        (RESILIENCY.replace("5s", "5 s"), "value", "spec.policies.retries.often.duration", "not a duration"),
        (RESILIENCY.replace("400", "-1"), "retry", "spec.policies.retries.often.maxRetries", "for ever"),
        (RESILIENCY.replace("constant", "exponential"), "retry", "spec.policies.retries.often.policy", "15 minutes"),
        (RESILIENCY.replace("400", "many"), "type", "spec.policies.retries.often.maxRetries", "a whole number"),
        (RESILIENCY.replace("v1alpha1", "v1"), "apiVersion", "apiVersion", "not loaded.*v1alpha1"),
        (RESILIENCY.replace("Resiliency", "Resilience"), "kind", "kind", "did you mean 'Resiliency'"),
        (RESILIENCY.replace("namespace: here", "namespace: there"), "namespace", "metadata.namespace", "'here'"),
        (RESILIENCY.replace("name: policy", "nmae: policy"), "key", "metadata.nmae", "did you mean 'name'"),
        (RESILIENCY.replace("spec:", "spec:\n      auth: {}"), "key", "spec.auth", "beside spec"),
        (SUBSCRIPTION.replace("bus", "bos"), "target", "spec.pubsubname", "did you mean 'bus'"),
        (SUBSCRIPTION.replace("default", "defualt"), "key", "spec.routes.defualt", "did you mean 'default'"),
        (SUBSCRIPTION.replace(", deadLetterTopic: dead", ""), "deadLetter", "spec", "blocks its partition"),
        ("apiVersion: dapr.io/v1alpha1\nkind: Component\nkind: Component\n", "twice", "kind", "given twice"),
        ("- a\n", "resource", "", "a resource is a mapping"),
        ("a: [", "yaml", "", "is not YAML"),
    ],
)
def test_a_mistake_in_another_resource(tmp_path: Path, content: str, rule: str, key: str, message: str) -> None:
    """What it refers to is looked up, and its form is that of the cluster's own schema."""
    files = [kafka(), content] + ([RESILIENCY] if "Subscription" in content else [])
    found = [one for one in findings(tmp_path, *files) if one.rule == rule and one.key.endswith(key)]
    assert found
    assert re.search(message, str(found[0])), found[0]
    assert found[0].path.name == "1.yaml"


@pytest.mark.parametrize(("bus", "what"), [(redis(), "lost"), (kafka(), "blocks its partition")])
def test_deliveries_that_nobody_retries(tmp_path: Path, bus: str, what: str) -> None:
    """Redis loses them, Kafka is stuck with them: an error in both cases."""
    (found,) = findings(tmp_path, bus)
    assert (found.rule, found.severity) == ("retry", Severity.ERROR)
    assert what in found.problem


def test_a_default_policy_is_a_retry(tmp_path: Path) -> None:
    """Dapr takes it by its name, without a target."""
    policy = RESILIENCY.replace("often", "DefaultRetryPolicy").replace(
        "bus: {inbound: {retry: DefaultRetryPolicy}}", ""
    )
    assert findings(tmp_path, redis(), policy) == []


def test_a_resiliency_behind_other_documents(tmp_path: Path) -> None:
    """daprd does not see it, so it is also no retry."""
    found = findings(tmp_path, redis() + "---" + RESILIENCY)
    assert named(found) == [("retry", "spec.type"), ("unloaded", "kind")]


def test_alternatives(tmp_path: Path) -> None:
    """Each but the first is told which one it is beside, and which one kubectl would leave."""
    found = findings(tmp_path, kafka(), redis(), RESILIENCY)
    (one,) = [one for one in found if one.rule == "duplicate"]
    assert (one.path.name, one.line) == ("1.yaml", 4)
    assert "already defined in" in one.problem
    assert "leaves 1.yaml" in one.fix


def test_credentials_that_every_app_gets(tmp_path: Path) -> None:
    """A component without scopes is everybody's."""
    bus = redis("{name: redisPassword, secretKeyRef: {name: r, key: p}}", more="")
    (found,) = findings(tmp_path, bus, RESILIENCY)
    assert (found.rule, found.severity) == ("scope", Severity.WARNING)


def test_secret_scopes_that_limit_nothing(tmp_path: Path) -> None:
    """A store that nobody defines."""
    configuration = """
    apiVersion: dapr.io/v1alpha1
    kind: Configuration
    metadata: {name: c}
    spec: {secrets: {scopes: [{storeName: kubernetse, defaultAccess: deny}]}}
    """
    (found,) = findings(tmp_path, configuration)
    assert found.key == "spec.secrets.scopes[0].storeName"
    assert "did you mean 'kubernetes'" in found.fix


def test_where_a_mistake_is(tmp_path: Path) -> None:
    """File, line and key, in a file of several documents too."""
    content = f"# first\n---\n{kafka()}---\n{kafka('{name: borkers, value: b}').replace('name: bus', 'name: other')}"
    (tmp_path / "many.yaml").write_text(content)
    (found,) = [one for one in check([tmp_path / "many.yaml"], SURROUNDINGS) if one.rule == "setting"]
    assert content.splitlines()[found.line - 1] == "    - {name: borkers, value: b}"
    assert str(found).startswith(f"{tmp_path / 'many.yaml'}:{found.line}: Component 'other': spec.metadata[borkers]: ")


def test_the_line_of_a_key_is_its_own(tmp_path: Path) -> None:
    """Not that of what stands below it."""
    content = kafka(more="scope:\n  - shop")
    (found,) = [one for one in findings(tmp_path, content, RESILIENCY) if one.rule == "key"]
    assert content.splitlines()[found.line - 1] == "scope:"


@pytest.mark.parametrize(
    "content", ["&a [*a]", "&a {kind: *a}", "kind: 1\n? [a]\n: b\n", "\x00", "kind: !!python/none x"]
)
def test_nothing_breaks_the_checker(tmp_path: Path, content: str) -> None:
    """Whatever is in the file is reported, not raised."""
    (tmp_path / "odd.yaml").write_text(content)
    assert check([tmp_path], SURROUNDINGS)


def test_a_path_without_resources(tmp_path: Path) -> None:
    """A typing mistake in a path must not look like a clean result."""
    with pytest.raises(SetupError, match="does not exist"):
        check([tmp_path / "nowhere"], SURROUNDINGS)
    with pytest.raises(SetupError, match="has no YAML file"):
        check([tmp_path], SURROUNDINGS)
