"""Components: whether they are right, and whether every sidecar that should have them has."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from daprlet import checker
from daprlet.checker import Document, Severity, Surroundings
from daprlet.component_types import catalog
from todo.contracts import names
from todo.operations.doctor import logs
from todo.operations.doctor.findings import Code, Finding, found
from todo.operations.doctor.seen import Pods, Replica, Seen

USERS: Final[Mapping[str, frozenset[str]]] = {
    names.PUBSUB: frozenset(app.app_id for app in names.APPS),
    names.STATE_STORE: frozenset(app.app_id for app in (names.NOTIFICATION, names.EMAIL_DELIVERY, names.RECURRING)),
}
DAPRD: Final = "daprd"
RULES: Final = {"group": Code.CONSUMER_GROUP, "secretStore": Code.COMPONENT_PARKED}


def check(seen: Seen) -> Iterator[Finding]:
    """What is wrong with the resources as they are applied, and what sidecars made of them."""
    if seen.resources is not None:
        yield from _missing(seen.resources)
        yield from _misread(seen)
    for one in seen.replicas:
        said = _said(seen.pods, one)
        yield from _failed(one, said)
        if seen.resources is not None and one.sidecar is not None and one.sidecar.metadata is not None:
            yield from _unloaded(one, seen.resources, one.sidecar.metadata)


def pubsub(resources: list[Document]) -> Mapping[str, Any] | None:
    """The component that events go through."""
    found_one = next((one for one in _components(resources) if one.name == names.PUBSUB), None)
    return None if found_one is None else found_one.data


def _missing(resources: list[Document]) -> Iterator[Finding]:
    there = {one.name: one for one in _components(resources)}
    for name, users in USERS.items():
        if name not in there:
            listed = ", ".join(sorted(there)) or "none"
            yield found(
                Code.COMPONENT_MISSING, name, f"there is no component {name}", f"components that are there: {listed}"
            )
        elif there[name].sequence("scopes") and (left_out := users - set(there[name].sequence("scopes"))):
            apps = ", ".join(sorted(left_out))
            yield found(
                Code.COMPONENT_MISSING,
                name,
                f"component {name} is not for {apps}, which need it",
                f"its scopes: {', '.join(there[name].sequence('scopes'))}",
                to_do=f"add {apps} to its scopes",
            )


def _misread(seen: Seen) -> Iterator[Finding]:
    apps = [app.app_id for app in names.APPS]
    surroundings = Surroundings(checker.dapr().with_types_of(catalog()), apps, seen.namespace, seen.stores)
    for one in (*seen.unreadable, *checker.check_documents(seen.resources or [], surroundings)):
        if one.severity is Severity.ERROR or one.rule in RULES:
            code = RULES.get(one.rule, Code.COMPONENT_WRONG)
            if "saslMechanism" in one.problem:
                code = Code.BROKER_MECHANISM
            where = one.key or "the whole of it"
            yield found(code, one.resource or str(one.path), f"{one.resource}: {one.problem}", where, to_do=one.fix)


def _failed(one: Replica, said: str) -> Iterator[Finding]:
    for failure in logs.failures(said):
        yield found(
            failure.code,
            failure.component,
            f"component {failure.component} does not start",
            f"daprd of {one.name} says: {failure.why}",
            app="" if failure.code is not Code.COMPONENT_FAILED else one.app_id,
        )


def _unloaded(one: Replica, resources: list[Document], metadata: Mapping[str, Any]) -> Iterator[Finding]:
    loaded = {item.get("name") for item in metadata.get("components") or ()}
    for component in _components(resources):
        scopes = component.sequence("scopes")
        if component.name not in loaded and (not scopes or one.app_id in scopes):
            has = ", ".join(sorted(filter(None, loaded))) or "none"
            yield found(
                Code.COMPONENT_NOT_LOADED,
                component.name,
                f"the sidecar of {one.name} has not loaded component {component.name}",
                f"its metadata lists {has}",
                app=one.app_id,
            )


def _components(resources: list[Document]) -> list[Document]:
    return [one for one in resources if one.kind == "Component"]


def _said(pods: Pods | None, one: Replica) -> str:
    return "" if pods is None else pods.said.get((one.name, DAPRD), "")
