"""Resource files: Components, Subscriptions, Resiliencies and Configurations, checked before anything starts.

Dapr ignores what it does not know in these files; here every unknown type, key, value and name is an error that says
which file, which key, and what is nearest to it.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from daprlet.checker import (
    Document,
    Finding,
    Severity,
    Surroundings,
    check_documents,
    nearest,
    read,
    read_documents,
    yaml_files,
)
from daprlet.component_types import TYPES, catalog
from daprlet.errors import SetupError
from daprlet.log import Retention
from daprlet.resiliency import Policies
from daprlet.resource_files import (
    SHAPES,
    Auth,
    ComponentFile,
    Entry,
    SecretKeyRef,
    SecretScope,
    SubscriptionFile,
    SubscriptionFileV1,
)
from daprlet.secret_stores import EnvironmentStore, FileStore, SecretStore
from daprlet.subscriptions import RoutesSpec, RuleSpec, Subscription, SubscriptionSpec, declared

DEFAULT_SECRET_STORE: Final = "kubernetes"  # noqa: S105 - a store's name: what Dapr falls back to on Kubernetes


@dataclass(frozen=True, slots=True)
class Component:
    """A checked component with every value resolved; `settings` holds parsed values by metadata name."""

    name: str
    type: str
    where: str
    settings: Mapping[str, Any]
    scopes: frozenset[str]

    def visible_to(self, app_id: str) -> bool:
        return not self.scopes or app_id in self.scopes


@dataclass(frozen=True, slots=True)
class Resources:
    """What one app sees of its resource folders."""

    pubsubs: Mapping[str, Component] = field(default_factory=dict)
    states: Mapping[str, Component] = field(default_factory=dict)
    secret_stores: Mapping[str, SecretStore] = field(default_factory=dict)
    components: Sequence[Component] = ()
    subscriptions: Sequence[Subscription] = ()
    policies: Policies = field(default_factory=lambda: Policies({}))
    secret_scopes: Mapping[str, SecretScope] = field(default_factory=dict)


def load(app_id: str, folders: Sequence[Path], configuration: Path | None = None) -> Resources:
    """Read and check everything in `folders` for one app; raises `SetupError` with every mistake, a line each."""
    documents = [one for folder in folders for path in _files(folder) for one in _documents(path)]
    if configuration is not None:
        documents += _documents(configuration, only="Configuration")
    visible = [one for one in documents if _in_namespace(one)]
    _refuse(check_documents(visible, Surroundings(catalog(), advice=False)))
    files = [_Read(f"{one.path}:{one.line(())}", read(str(one.path), one.data, _shape(one))) for one in visible]
    components, stores = _components(files)
    mine = [component for component in components if component.visible_to(app_id)]
    by_type = {kind: {c.name: c for c in mine if c.type.startswith(kind)} for kind in ("pubsub.", "state.")}
    return Resources(
        pubsubs=by_type["pubsub."],
        states=by_type["state."],
        secret_stores={c.name: stores[c.name] for c in mine if c.name in stores},
        components=mine,
        subscriptions=_subscriptions(app_id, files),
        policies=_policies(app_id, files),
        secret_scopes=_secret_scopes(files),
    )


@dataclass(frozen=True, slots=True)
class _Read:
    where: str
    body: Any  # one of the *File structs

    @property
    def kind(self) -> str:
        return str(self.body.kind)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SetupError(f"the resources folder {folder} does not exist")
    return yaml_files(folder)


def _documents(path: Path, only: str = "") -> list[Document]:
    documents, unreadable = read_documents(path)
    _refuse(unreadable)
    for one in documents:
        if only and one.kind != only:
            raise SetupError(f"{path}: kind {one.kind!r} cannot be used here; did you mean {only!r}?")
    return documents


def _refuse(findings: Iterable[Finding]) -> None:
    errors = [str(one) for one in findings if one.severity is Severity.ERROR]
    if errors:
        raise SetupError("\n".join(errors))


def _in_namespace(document: Document) -> bool:
    """As in Dapr, resources of another namespace are skipped only when `NAMESPACE` says which one is ours."""
    ours, given = os.environ.get("NAMESPACE", ""), document.text("metadata", "namespace")
    return not ours or not given or given == ours


def _shape(document: Document) -> type[msgspec.Struct]:
    return SHAPES[document.kind][document.text("apiVersion")]


def _components(files: Iterable[_Read]) -> tuple[list[Component], dict[str, SecretStore]]:
    """Secret stores first, for the others may refer to them."""
    bodies = [one for one in files if one.kind == "Component"]
    is_store = {id(one): one.body.spec.type.startswith("secretstores.") for one in bodies}
    stores: dict[str, SecretStore] = {}
    components = []
    for one in sorted(bodies, key=lambda one: not is_store[id(one)]):
        component = _component(one, stores)
        components.append(component)
        if is_store[id(one)]:
            stores[component.name] = _secret_store(component)
    return components, stores


def _component(one: _Read, stores: Mapping[str, SecretStore]) -> Component:
    body: ComponentFile = one.body
    known = catalog().described[body.spec.type, body.spec.version]
    settings: dict[str, Any] = {}
    for entry in body.spec.metadata:
        name = known.settings[entry.name.lower()].name
        text = _value(one.where, entry, body.auth, stores)
        try:
            settings[name] = TYPES[body.spec.type][name](text)
        except ValueError as error:
            if entry.secret_key_ref is not None:  # the error quotes the value
                message = f"{one.where}: metadata {entry.name!r}: the secret's value cannot be used"
                raise SetupError(message) from None
            raise SetupError(f"{one.where}: metadata {entry.name!r}: {error}") from error
    return Component(body.metadata.name, body.spec.type, one.where, settings, frozenset(body.scopes))


def _value(where: str, entry: Entry, auth: Auth | None, stores: Mapping[str, SecretStore]) -> str:
    if entry.secret_key_ref is not None:
        return _secret(where, entry.secret_key_ref, auth, stores)
    if entry.env_ref:
        if entry.env_ref not in os.environ:
            raise SetupError(f"{where}: metadata {entry.name!r}: the environment has no variable {entry.env_ref}")
        return os.environ[entry.env_ref]
    if isinstance(entry.value, bool):
        return str(entry.value).lower()
    return "" if entry.value is None else str(entry.value)


def _secret(where: str, ref: SecretKeyRef, auth: Auth | None, stores: Mapping[str, SecretStore]) -> str:
    store = (auth.secret_store if auth else "") or DEFAULT_SECRET_STORE
    if store not in stores:
        raise SetupError(f"{where}: secret store {store!r} is not defined; {nearest(store, stores)}")
    secrets = stores[store].all()  # `get` would make an empty secret of a variable that is not set
    if ref.name not in secrets:
        raise SetupError(f"{where}: {store} has no secret {ref.name!r}; {nearest(ref.name, secrets)}")
    pairs = secrets[ref.name]
    key = ref.key or ref.name
    if key not in pairs:
        raise SetupError(f"{where}: secret {ref.name!r} of {store} has no key {key!r}; {nearest(key, pairs)}")
    return pairs[key]


def _secret_store(component: Component) -> SecretStore:
    settings = component.settings
    if component.type == "secretstores.local.env":
        return EnvironmentStore(settings.get("prefix", ""))
    try:
        return FileStore(
            Path(settings["secretsFile"]),
            settings.get("nestedSeparator") or ":",
            multi_valued=settings.get("multiValued", False),
        )
    except SetupError as error:
        raise SetupError(f"{component.where}: {error}") from error


def _policies(app_id: str, files: Iterable[_Read]) -> Policies:
    return Policies(
        {
            one.where: one.body.spec
            for one in files
            if one.kind == "Resiliency" and (not one.body.scopes or app_id in one.body.scopes)
        }
    )


def _subscriptions(app_id: str, files: Iterable[_Read]) -> list[Subscription]:
    return [
        declared(one.where, _as_v2(one.body))
        for one in files
        if one.kind == "Subscription" and (not one.body.scopes or app_id in one.body.scopes)
    ]


def _as_v2(body: SubscriptionFile | SubscriptionFileV1) -> SubscriptionSpec:
    if isinstance(body, SubscriptionFile):
        return body.spec
    old = body.spec
    return SubscriptionSpec(
        pubsubname=old.pubsubname,
        topic=old.topic,
        routes=RoutesSpec(rules=list[RuleSpec](), default=old.route),
        dead_letter_topic=old.dead_letter_topic,
        metadata=old.metadata,
        bulk_subscribe=old.bulk_subscribe,
    )


def _secret_scopes(files: Iterable[_Read]) -> dict[str, SecretScope]:
    return {
        scope.store_name: scope
        for one in files
        if one.kind == "Configuration"
        for scope in one.body.spec.secrets.scopes
    }


def retention(component: Component) -> Retention:
    """The retention rules a `pubsub.sqlite` component asks for."""
    settings, default = component.settings, Retention()
    return Retention(
        settings.get("acknowledgedMaxAge", default.acknowledged_age),
        settings.get("acknowledgedMaxBytes", default.acknowledged_bytes),
        settings.get("unreadMaxAge", default.unread_age),
        settings.get("unreadMaxBytes", default.unread_bytes),
    )
