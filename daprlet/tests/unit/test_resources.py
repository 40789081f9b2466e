import json
from pathlib import Path
from textwrap import dedent

import pytest

from daprlet.errors import SetupError
from daprlet.log import Retention
from daprlet.resources import Resources, load, retention

PUBSUB = """
    apiVersion: dapr.io/v1alpha1
    kind: Component
    metadata: {name: bus}
    spec: {type: pubsub.sqlite, version: v1}
"""
VAULT = """
    apiVersion: dapr.io/v1alpha1
    kind: Component
    metadata: {name: kubernetes}
    spec:
      type: secretstores.local.file
      version: v1
      metadata: [{name: secretsFile, envRef: SECRETS}]
"""


def read(folder: Path, *files: str, app: str = "app") -> Resources:
    for number, content in enumerate(files):
        (folder / f"{number}.yaml").write_text(dedent(content))
    return load(app, [folder])


def component(name: str, kind: str, *metadata: str, **top: object) -> str:
    entries = "\n".join(f"    - {entry}" for entry in metadata)
    more = "\n".join(f"{key}: {json.dumps(value)}" for key, value in top.items())
    return (
        f"apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {{name: {name}}}\n"
        f"spec:\n  type: {kind}\n  version: v1\n  metadata:\n{entries or '    []'}\n{more}\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (component("a", "pubsub.kafka"), r"0\.yaml: component type 'pubsub.kafka' .*known are|did you mean"),
        (component("a", "pubsub.sqlit"), "did you mean 'pubsub.sqlite'"),
        (component("a", "pubsub.sqlite", "{name: concurency, value: 1}"), "did you mean 'concurrency'"),
        (component("a", "pubsub.sqlite", "{name: concurrency, value: many}"), "'concurrency': 'many' is not a whole"),
        (component("a", "pubsub.sqlite", "{name: redeliverInterval, value: soon}"), "redeliverInterval"),
        (component("a", "pubsub.sqlite", "{name: unreadMaxBytes, value: 1GB}"), "1Gi"),
        (component("a", "state.sqlite", "{name: keyPrefix, value: a}", "{name: keyprefix, value: b}"), "given twice"),
        (component("a", "state.sqlite", "{name: keyPrefix, valeu: a}"), "did you mean 'value'"),
        (component("a", "secretstores.local.file"), "'secretsFile' is required"),
        (component("a", "secretstores.local.file", "{name: secretsFile, value: /nowhere.json}"), "nowhere"),
        (component("a", "pubsub.sqlite", "{name: concurrency, envRef: NOT_SET_AT_ALL}"), "NOT_SET_AT_ALL"),
        (component("a", "pubsub.sqlite", scope=["app"]), "unknown key 'scope'.*did you mean 'scopes'"),
        (PUBSUB.replace("v1alpha1", "v1alpha2"), "apiVersion .* did you mean 'dapr.io/v1alpha1'"),
        (PUBSUB.replace("Component", "Componnet"), "did you mean 'Component'"),
        (PUBSUB.replace("version: v1", "version: v2"), "v2"),
        ("- a\n- b\n", "a resource is a mapping"),
        ("a: [", "0.yaml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str, message: str) -> None:
    """File, key and the nearest right name: a typing mistake costs a minute, not an evening."""
    with pytest.raises(SetupError, match=message) as error:
        read(tmp_path, content)
    assert "0.yaml" in str(error.value)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    """A line each."""
    files = [component(name, "pubsub.sqlite", "{name: concurrency, value: many}") for name in ("a", "b")]
    with pytest.raises(SetupError) as error:
        read(tmp_path, *files)
    assert [line.partition(": ")[0][-8:] for line in str(error.value).splitlines()] == ["0.yaml:8", "1.yaml:8"]


def test_two_components_of_one_name_are_an_error(tmp_path: Path) -> None:
    """Both files are named."""
    with pytest.raises(SetupError, match=r"1\.yaml:4: .*Component 'bus' is already defined in .*0\.yaml"):
        read(tmp_path, PUBSUB, PUBSUB)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """It is not the same as an empty one."""
    with pytest.raises(SetupError, match="does not exist"):
        load("app", [tmp_path / "nowhere"])


def test_many_documents_in_one_file_all_count(tmp_path: Path) -> None:
    """And an error names the line and the resource."""
    assert set(read(tmp_path, PUBSUB + "---" + PUBSUB.replace("bus", "other")).pubsubs) == {"bus", "other"}
    with pytest.raises(SetupError, match=r"0\.yaml:10: Component 'third'"):
        read(tmp_path, PUBSUB + "---" + PUBSUB.replace("bus", "third").replace("v1}", "v3}"))


def test_scopes_hide_a_component(tmp_path: Path) -> None:
    """An app outside of them does not see it at all."""
    files = component("store", "state.sqlite", scopes=["app"])
    assert set(read(tmp_path, files).states) == {"store"}
    assert set(read(tmp_path, files, app="other").states) == set()


def test_secrets_reach_components(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the store named `kubernetes` when the component names none, and whatever the order of the files."""
    secrets = tmp_path / "secrets.json"
    secrets.write_text('{"limits": "5"}')
    monkeypatch.setenv("SECRETS", str(secrets))
    bus = component("bus", "pubsub.sqlite", "{name: concurrency, secretKeyRef: {name: limits, key: limits}}")
    assert read(tmp_path, bus, VAULT).pubsubs["bus"].settings["concurrency"] == 5


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("{name: limit, key: limits}", "no secret 'limit'; did you mean 'limits'"),
        ("{name: limits, key: max}", "has no key 'max'"),
    ],
)
def test_a_missing_secret_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, message: str
) -> None:
    """Dapr parks such a component with one warning."""
    (tmp_path / "secrets.json").write_text('{"limits": "5"}')
    monkeypatch.setenv("SECRETS", str(tmp_path / "secrets.json"))
    bus = component("bus", "pubsub.sqlite", f"{{name: concurrency, secretKeyRef: {reference}}}")
    with pytest.raises(SetupError, match=message):
        read(tmp_path, VAULT, bus)


def test_an_unknown_secret_store_is_an_error(tmp_path: Path) -> None:
    """Named by the component or assumed."""
    bus = component("bus", "pubsub.sqlite", "{name: concurrency, secretKeyRef: {name: a}}", auth={"secretStore": "x"})
    with pytest.raises(SetupError, match="secret store 'x' is not defined"):
        read(tmp_path, bus)


RESILIENCY = """
    apiVersion: dapr.io/v1alpha1
    kind: Resiliency
    metadata: {name: r}
    spec:
      policies: {retries: {often: {policy: constant, duration: 1s, maxRetries: 3}}, timeouts: {short: 2s}}
      targets: {components: {bus: {inbound: {retry: often, timeout: short}}}}
"""


def test_resiliency_is_read_wherever_it_stands(tmp_path: Path) -> None:
    """Also as the third document of a file, where Dapr loses it."""
    content = PUBSUB + "---" + PUBSUB.replace("bus", "other") + "---" + RESILIENCY
    policy = read(tmp_path, content).policies.inbound("bus")
    assert (policy.retry.max_retries, policy.timeout) == (3, 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bus:", "buss:", "no component 'buss'.*did you mean 'bus'"),
        ("inbound", "outward", "unknown key .*outward"),
        ("policy: constant", "policy: linear", "linear"),
        ("timeouts:", "circuitBreakers:", "circuitBreakers.short: is text"),
    ],
)
def test_resiliency_is_checked(tmp_path: Path, old: str, new: str, message: str) -> None:
    """What daprlet does not do is an error rather than an option that does nothing."""
    with pytest.raises(SetupError, match=message):
        read(tmp_path, PUBSUB, RESILIENCY.replace(old, new))


SUBSCRIPTION = """
    apiVersion: dapr.io/v2alpha1
    kind: Subscription
    metadata: {name: s}
    spec:
      pubsubname: bus
      topic: t
      routes: {rules: [{match: 'event.type == "x"', path: /x}], default: /t}
      deadLetterTopic: dead
      bulkSubscribe: {enabled: true, maxMessagesCount: 7}
    scopes: [app]
"""


def test_declared_subscriptions(tmp_path: Path) -> None:
    """With routes, dead letters, bulk and scopes."""
    (found,) = read(tmp_path, PUBSUB, SUBSCRIPTION).subscriptions
    assert (found.topic, found.path({"type": "x"}), found.path({"type": "y"})) == ("t", "/x", "/t")
    assert (found.dead_letter_topic, found.batch) == ("dead", 7)
    assert read(tmp_path, PUBSUB, SUBSCRIPTION, app="other").subscriptions == []


def test_the_older_subscription_format(tmp_path: Path) -> None:
    """v1alpha1 has one route."""
    old = """
    apiVersion: dapr.io/v1alpha1
    kind: Subscription
    metadata: {name: s}
    spec: {pubsubname: bus, topic: t, route: /t, metadata: {rawPayload: "true"}}
    """
    (found,) = read(tmp_path, PUBSUB, old).subscriptions
    assert (found.default, found.raw, found.batch) == ("/t", True, 0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pubsubname: bus", "pubsubname: bos", "no pub/sub 'bos'; did you mean 'bus'"),
        ('event.type == "x"', "event.type.matches(1)", "routes.rules"),
        ("maxMessagesCount", "maxMessageCount", "did you mean 'maxMessagesCount'"),
        ("topic: t\n", "\n", "required"),
    ],
)
def test_declared_subscriptions_are_checked(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Rules included."""
    with pytest.raises(SetupError, match=message):
        read(tmp_path, PUBSUB, SUBSCRIPTION.replace(old, new))


def test_retention_of_a_component(tmp_path: Path) -> None:
    """Durations and sizes, with defaults for what is not said."""
    bus = component(
        "bus", "pubsub.sqlite", "{name: unreadMaxAge, value: 1h}", "{name: acknowledgedMaxBytes, value: 1Mi}"
    )
    found = retention(read(tmp_path, bus).pubsubs["bus"])
    assert found == Retention(acknowledged_bytes=1024**2, unread_age=3600)


def test_another_namespace_is_skipped_only_when_ours_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Dapr does on one host."""
    elsewhere = PUBSUB.replace("name: bus", "name: bus, namespace: there")
    monkeypatch.delenv("NAMESPACE", raising=False)
    assert set(read(tmp_path, elsewhere).pubsubs) == {"bus"}
    monkeypatch.setenv("NAMESPACE", "here")
    assert set(read(tmp_path, elsewhere).pubsubs) == set()


def secret_scopes(*scopes: str) -> str:
    return (
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\n"
        f"spec: {{secrets: {{scopes: [{', '.join(scopes)}]}}}}\n"
    )


def test_secret_scopes_of_a_configuration(tmp_path: Path) -> None:
    """A list of allowed names beats everything; then denied ones; then the default."""
    stores = component("a", "secretstores.local.env"), component("b", "secretstores.local.env")
    a, b = "{storeName: a, defaultAccess: deny, allowedSecrets: [x]}", "{storeName: b, deniedSecrets: [y]}"
    scopes = read(tmp_path, *stores, secret_scopes(a, b)).secret_scopes
    assert (scopes["a"].allows("x"), scopes["a"].allows("z")) == (True, False)
    assert (scopes["b"].allows("x"), scopes["b"].allows("y")) == (True, False)


@pytest.mark.parametrize(
    ("scopes", "message"),
    [
        (["{storeName: valt, defaultAccess: deny}"], "secret store 'valt' is not defined.*did you mean 'vault'"),
        (["{storeName: bus, defaultAccess: deny}"], "secret store 'bus' is not defined"),
        (["{storeName: vault, defaultAccess: deny}", "{storeName: vault}"], "'vault' has a second scope"),
    ],
)
def test_secret_scopes_are_checked(tmp_path: Path, scopes: list[str], message: str) -> None:
    """A restriction that restricts nothing is an error."""
    with pytest.raises(SetupError, match=message) as error:
        read(tmp_path, PUBSUB, component("vault", "secretstores.local.env"), secret_scopes(*scopes))
    assert "2.yaml" in str(error.value)


REFERRING = component(
    "bus", "pubsub.sqlite", "{name: concurrency, secretKeyRef: {name: LIMIT}}", auth={"secretStore": "env"}
)


def test_a_variable_that_is_not_set_is_a_missing_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by an app it is empty, as in Dapr; a component must not start with it."""
    monkeypatch.setenv("TEST_LIMITS", "5")
    store = component("env", "secretstores.local.env", "{name: prefix, value: TEST_}")
    with pytest.raises(SetupError, match="env has no secret 'LIMIT'; did you mean 'LIMITS'"):
        read(tmp_path, store, REFERRING)


def test_a_secret_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages end in logs."""
    monkeypatch.setenv("LIMIT", "hunter2")
    with pytest.raises(SetupError, match="'concurrency': the secret's value cannot be used") as error:
        read(tmp_path, component("env", "secretstores.local.env"), REFERRING)
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None
