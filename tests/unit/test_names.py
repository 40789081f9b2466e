"""The run file, the component files and the documents say what `contracts.names` says."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from daprlet.durations import go_duration
from todo.contracts import names
from todo.contracts.names import App
from todo.notification.schedule import PATIENCE
from todo.operations.asyncapi import SENDS
from todo.operations.engine.environments import ENVIRONMENTS

ROOT: Final = Path(__file__).resolve().parents[2]
LOCAL: Final = ROOT / "local"
CLUSTER: Final = ROOT / "kubernetes" / "dapr-components"
BROKERS: Final = [LOCAL / "resources" / "pubsub.yaml", *(one.path for one in ENVIRONMENTS.values())]
STATE_STORES: Final = [LOCAL / "resources" / "statestore.yaml", CLUSTER / "statestore-postgres.yaml"]
POLICIES: Final = [LOCAL / "resources" / "resiliency.yaml", CLUSTER / "resiliency.yaml"]
EVERYONE: Final = {app.app_id for app in names.APPS}
TOPICS: Final = {topic for app in names.APPS for topic in app.topics}
UNDELIVERED: Final = set(names.dead_letter_topics())
HALF_AN_HOUR: Final = 1800  # seconds

Resource = dict[str, Any]


def load(path: Path) -> Resource:
    """The one resource of a file."""
    (found,) = (one for one in yaml.safe_load_all(path.read_text()) if one)
    return dict(found)


def resources(folder: Path) -> Iterator[Resource]:
    yield from map(load, sorted(folder.glob("*.yaml")))


@pytest.fixture(params=BROKERS, ids=lambda path: path.name)
def pubsub(request: pytest.FixtureRequest) -> Resource:
    """The component that stands behind `pubsub-kafka` in each environment."""
    return load(request.param)


def setting(component: Resource, name: str) -> str:
    """A component's metadata value; empty where it has none."""
    return next((item["value"] for item in component["spec"].get("metadata", []) if item["name"] == name), "")


def listed(component: Resource, name: str) -> set[str]:
    return {topic.strip() for topic in setting(component, name).split(",")} - {""}


def granted(component: Resource, scopes: str) -> dict[str, set[str]]:
    """The topics a scope gives to each app it names: `app=topic,topic;app=topic`."""
    pairs = [entry.strip().partition("=") for entry in setting(component, scopes).split(";") if entry.strip()]
    return {app: {topic.strip() for topic in topics.split(",")} - {""} for app, _, topics in pairs}


def refused(component: Resource, scopes: str, wanted: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """What apps want and may not have. Dapr asks `allowedTopics`, then the app's own list, else `protectedTopics`."""
    allowed, protected = listed(component, "allowedTopics"), listed(component, "protectedTopics")
    own = granted(component, scopes)
    lacking = {
        app: {one for one in topics if (allowed and one not in allowed) or one not in own.get(app, topics - protected)}
        for app, topics in wanted.items()
    }
    return {app: topics for app, topics in lacking.items() if topics}


def published(app: App) -> set[str]:
    """The topics of an app's events; backend also replays dead letters onto every topic."""
    return set(SENDS[app.app_id]) | (TOPICS if app is names.BACKEND else set())


def subscribed(app: App) -> set[str]:
    return set(app.topics) | (UNDELIVERED if app is names.BACKEND else set())


def dead_letter_topics_of(app: App) -> set[str]:
    return {names.dead_letter_topic(app.app_id, topic) for topic in app.topics}


def users_of_the_state_store() -> set[str]:
    """The apps in whose code the store is named."""
    return {
        app.app_id
        for app in names.APPS
        for path in (ROOT / "src" / app.module.replace(".", "/")).rglob("*.py")
        if "STATE_STORE" in path.read_text()
    }


def test_every_app_has_its_own_ports() -> None:
    ports = [port for app in names.APPS for port in (app.port, app.dapr_port)]
    ports += [names.MAILBOX_HTTP_PORT, names.MAILBOX_SMTP_PORT]
    assert len(set(ports)) == len(ports)


def test_the_run_file_starts_the_apps_of_the_table_on_their_ports() -> None:
    run = yaml.safe_load((LOCAL / "dapr.yaml").read_text())
    told = [(app["appID"], app["appPort"], app["daprHTTPPort"]) for app in run["apps"]]
    assert told == [(app.app_id, app.port, app.dapr_port) for app in names.APPS]
    assert [LOCAL / path for path in run["common"]["resourcesPaths"]] == [LOCAL / "resources"]


@pytest.mark.parametrize(
    ("folder", "secrets"),
    [(LOCAL / "resources", names.SECRET_STORE), (CLUSTER, "secrets-kubernetes")],  # the guide's name for the same
    ids=["local", "cluster"],
)
def test_the_components_are_those_of_the_table_in_its_namespace(folder: Path, secrets: str) -> None:
    found = [one for one in resources(folder) if one["kind"] == "Component"]
    assert {one["metadata"]["name"] for one in found} == {names.PUBSUB, names.STATE_STORE, secrets}
    assert {one["metadata"]["namespace"] for one in resources(folder)} == {names.NAMESPACE}
    (store,) = [one for one in found if one["metadata"]["name"] == secrets]
    assert set(store["scopes"]) == EVERYONE


def test_the_files_of_the_cluster_are_the_environments_and_what_they_share() -> None:
    shared = {"statestore-postgres.yaml", "secrets-kubernetes.yaml", "resiliency.yaml", "Kustomization"}
    assert {path.name for path in CLUSTER.iterdir()} == shared | {one.file for one in ENVIRONMENTS.values()}


def test_every_app_may_use_the_pubsub_component(pubsub: Resource) -> None:
    assert pubsub["metadata"]["name"] == names.PUBSUB
    assert set(pubsub["scopes"]) == EVERYONE


def test_every_app_is_a_consumer_group_of_its_own(pubsub: Resource) -> None:
    """Dapr takes the app id when the component says nothing; any name here would make one group of all."""
    assert {item["name"] for item in pubsub["spec"]["metadata"]}.isdisjoint({"consumerGroup", "consumerID"})


def test_a_broker_that_is_new_is_read_from_the_beginning(pubsub: Resource) -> None:
    """Redis does so anyway; daprlet's log is never another one."""
    if pubsub["spec"]["type"] == "pubsub.kafka":
        assert setting(pubsub, "initialOffset") == "oldest"


def test_publishing_deletes_nothing(pubsub: Resource) -> None:
    """Dapr trims a stream without asking whether every group has read it."""
    assert {item["name"] for item in pubsub["spec"]["metadata"]}.isdisjoint({"maxLenApprox", "streamTTL"})


@pytest.mark.parametrize("path", STATE_STORES, ids=lambda path: path.name)
def test_exactly_the_apps_that_use_the_state_store_may(path: Path) -> None:
    keepers = {names.NOTIFICATION, names.EMAIL_DELIVERY, names.RECURRING}  # the last poll, claims, sightings
    assert users_of_the_state_store() == {app.app_id for app in keepers}
    assert set(load(path)["scopes"]) == users_of_the_state_store()


def test_every_app_may_publish_what_it_publishes(pubsub: Resource) -> None:
    wanted = {app.app_id: published(app) for app in names.APPS}
    assert refused(pubsub, "publishingScopes", wanted) == {}


def test_no_app_but_backend_may_publish_anything_else(pubsub: Resource) -> None:
    own = granted(pubsub, "publishingScopes")
    beyond = {
        app.app_id: own.get(app.app_id, TOPICS) - published(app) - dead_letter_topics_of(app)
        for app in names.APPS
        if app is not names.BACKEND
    }
    assert not any(beyond.values()), beyond


def test_every_app_may_subscribe_to_its_topics(pubsub: Resource) -> None:
    wanted = {app.app_id: subscribed(app) for app in names.APPS}
    assert refused(pubsub, "subscriptionScopes", wanted) == {}


def test_every_sidecar_may_move_what_its_app_never_accepted(pubsub: Resource) -> None:
    """daprd publishes dead letters with its app's rights; outside them Redis loses an event, Kafka blocks on it."""
    wanted = {app.app_id: dead_letter_topics_of(app) for app in names.APPS}
    assert refused(pubsub, "publishingScopes", wanted) == {}


@pytest.mark.parametrize("path", POLICIES, ids=["local", "cluster"])
def test_deliveries_are_tried_for_half_an_hour_at_least_before_they_become_dead_letters(path: Path) -> None:
    """Of a constant policy: Dapr's exponential one ends after 15 minutes whatever its numbers say."""
    resiliency = load(path)
    inbound = resiliency["spec"]["targets"]["components"][names.PUBSUB]["inbound"]
    retry = resiliency["spec"]["policies"]["retries"][inbound["retry"]]
    assert inbound["timeout"] in resiliency["spec"]["policies"]["timeouts"]
    assert retry["policy"] == "constant"
    assert retry["maxRetries"] * go_duration(retry["duration"]) >= HALF_AN_HOUR
    assert set(resiliency["scopes"]) == EVERYONE


def test_one_policy_for_every_broker() -> None:
    """Here and in a cluster; in a file of its own, for daprd does not load one that follows other documents."""
    assert load(POLICIES[0]) == load(POLICIES[1])


def test_a_dead_sidecars_events_are_taken_over_in_time() -> None:
    """On Redis: not before a delivery can have ended, and before its reminder is dispatched again."""
    delivery = load(CLUSTER / "resiliency.yaml")["spec"]["policies"]["timeouts"]["delivery"]
    redis = load(ENVIRONMENTS["redis"].path)
    held, looked = (int(setting(redis, name)) / 1000 for name in ("processingTimeout", "redeliverInterval"))
    assert go_duration(delivery) < held
    assert held + looked < PATIENCE.total_seconds()


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md"])
def test_a_page_names_no_port_that_is_not_ours(page: str) -> None:
    ours = {port for app in names.APPS for port in (app.port, app.dapr_port)}
    ours |= {names.MAILBOX_HTTP_PORT, names.MAILBOX_SMTP_PORT}
    assert {int(port) for port in re.findall(r":((?:80|35)\d\d|1025)\b", (ROOT / page).read_text())} <= ours


def test_the_readme_draws_each_service_with_its_port() -> None:
    """In the picture, a box has its service's name right above its port."""
    lines = (ROOT / "README.md").read_text().splitlines()
    for app in names.APPS:
        row = next(row for row, line in enumerate(lines) if re.search(rf"│ +:{app.port} +│", line))
        left = lines[row].rindex("│", 0, lines[row].index(f":{app.port}"))
        assert lines[row - 1][left + 1 :].split("│")[0].strip() == app.app_id.removesuffix("-service")
