"""Resource files: Components, Subscriptions, Resiliencies and Configurations, checked before anything starts.

Dapr ignores what it does not know in these files; here every unknown type, key, value and name is an error that says
which file, which key, and what is nearest to it.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from daprlet.checker import documents, nearest, read
from daprlet.component_types import REQUIRED, TYPES
from daprlet.errors import SetupError
from daprlet.log import Retention
from daprlet.resiliency import Policies
from daprlet.resource_files import (
    SHAPES,
    Auth,
    ComponentFile,
    Entry,
    Identity,
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
    """Read and check everything in `folders` for one app; raises `SetupError` for the first thing that is wrong."""
    read_files = [one for folder in folders for one in _folder(folder)]
    if configuration is not None:
        read_files += _file(configuration, only="Configuration")
    visible = [one for one in read_files if _in_namespace(one.body.metadata)]
    _refuse_duplicates(visible)
    components, stores = _components(visible)
    known = {component.name for component in components}
    policies = _policies(app_id, visible, known)
    mine = [component for component in components if component.visible_to(app_id)]
    by_type = {kind: {c.name: c for c in mine if c.type.startswith(kind)} for kind in ("pubsub.", "state.")}
    return Resources(
        pubsubs=by_type["pubsub."],
        states=by_type["state."],
        secret_stores={c.name: stores[c.name] for c in mine if c.name in stores},
        components=mine,
        subscriptions=_subscriptions(app_id, visible, {c.name for c in components if c.type.startswith("pubsub.")}),
        policies=policies,
        secret_scopes=_secret_scopes(visible, stores),
    )


@dataclass(frozen=True, slots=True)
class _Read:
    where: str
    body: Any  # one of the *File structs

    @property
    def kind(self) -> str:
        return str(self.body.kind)


def _folder(folder: Path) -> list[_Read]:
    if not folder.is_dir():
        raise SetupError(f"the resources folder {folder} does not exist")
    files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    return [one for path in files for one in _file(path)]


def _file(path: Path, only: str = "") -> list[_Read]:
    found = documents(path)
    many = len(found) > 1
    return [_document(f"{path}, document {at}" if many else str(path), one, only) for at, one in enumerate(found, 1)]


def _document(where: str, data: object, only: str) -> _Read:
    if not isinstance(data, dict):
        raise SetupError(f"{where}: a resource is a mapping with apiVersion, kind, metadata and spec")
    kind, version = str(data.get("kind", "")), str(data.get("apiVersion", ""))
    known = (only,) if only else SHAPES
    if kind not in known:
        raise SetupError(f"{where}: kind {kind!r} cannot be used here; {nearest(kind, known)}")
    shape = SHAPES[kind]
    if version not in shape:
        raise SetupError(f"{where}: apiVersion {version!r} of {kind} is unknown; {nearest(version, shape)}")
    return _Read(where, read(where, data, shape[version]))


def _in_namespace(identity: Identity) -> bool:
    """As in Dapr, resources of another namespace are skipped only when `NAMESPACE` says which one is ours."""
    ours = os.environ.get("NAMESPACE", "")
    return not ours or not identity.namespace or identity.namespace == ours


def _refuse_duplicates(files: Iterable[_Read]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for one in files:
        key = (one.kind, one.body.metadata.name)
        if key in seen:
            raise SetupError(f"{one.where}: {key[0]} {key[1]!r} is already defined in {seen[key]}")
        seen[key] = one.where


def _components(files: Iterable[_Read]) -> tuple[list[Component], dict[str, SecretStore]]:
    """Secret stores first, for the others may refer to them."""
    bodies = [one for one in files if one.kind == "Component"]
    for one in bodies:
        _check_type(one.where, one.body.spec.type)
    is_store = {id(one): one.body.spec.type.startswith("secretstores.") for one in bodies}
    stores: dict[str, SecretStore] = {}
    components = []
    for one in sorted(bodies, key=lambda one: not is_store[id(one)]):
        component = _component(one, stores)
        components.append(component)
        if is_store[id(one)]:
            stores[component.name] = _secret_store(component)
    return components, stores


def _check_type(where: str, kind: str) -> None:
    if kind not in TYPES:
        raise SetupError(f"{where}: component type {kind!r} is not one daprlet hosts; {nearest(kind, TYPES)}")


def _component(one: _Read, stores: Mapping[str, SecretStore]) -> Component:
    body: ComponentFile = one.body
    known = TYPES[body.spec.type]
    settings: dict[str, Any] = {}
    for entry in body.spec.metadata:
        name = _metadata_name(one.where, body.spec.type, entry.name)
        if name in settings:
            raise SetupError(f"{one.where}: metadata {entry.name!r} is given twice")
        text = _value(one.where, entry, body.auth, stores)
        try:
            settings[name] = known[name](text)
        except ValueError as error:
            if entry.secret_key_ref is not None:  # the error quotes the value
                message = f"{one.where}: metadata {entry.name!r}: the secret's value cannot be used"
                raise SetupError(message) from None
            raise SetupError(f"{one.where}: metadata {entry.name!r}: {error}") from error
    required = REQUIRED.get(body.spec.type)
    if required and not settings.get(required):
        raise SetupError(f"{one.where}: metadata {required!r} is required by {body.spec.type}")
    return Component(body.metadata.name, body.spec.type, one.where, settings, frozenset(body.scopes))


def _metadata_name(where: str, kind: str, name: str) -> str:
    known = TYPES[kind]
    by_case = {one.lower(): one for one in known} | ({"url": "connectionString"} if kind == "state.sqlite" else {})
    found = by_case.get(name.lower())
    if found is None:
        raise SetupError(f"{where}: metadata {name!r} is unknown to {kind}; {nearest(name, known)}")
    return found


def _value(where: str, entry: Entry, auth: Auth | None, stores: Mapping[str, SecretStore]) -> str:
    given = [entry.value is not None, entry.secret_key_ref is not None, bool(entry.env_ref)]
    if sum(given) > 1:
        raise SetupError(f"{where}: metadata {entry.name!r} has more than one of value, secretKeyRef and envRef")
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


def _policies(app_id: str, files: Iterable[_Read], components: set[str]) -> Policies:
    specs = {
        one.where: one.body.spec
        for one in files
        if one.kind == "Resiliency" and (not one.body.scopes or app_id in one.body.scopes)
    }
    for where, spec in specs.items():
        for name in spec.targets.components:
            if name not in components:
                raise SetupError(
                    f"{where}: spec.targets.components: no component {name!r}; {nearest(name, components)}"
                )
    return Policies(specs)


def _subscriptions(app_id: str, files: Iterable[_Read], pubsubs: set[str]) -> list[Subscription]:
    found = []
    for one in files:
        if one.kind != "Subscription" or (one.body.scopes and app_id not in one.body.scopes):
            continue
        subscription = declared(one.where, _as_v2(one.body))
        if subscription.pubsub not in pubsubs:
            name = subscription.pubsub
            raise SetupError(f"{one.where}: spec.pubsubname: no pub/sub {name!r}; {nearest(name, pubsubs)}")
        found.append(subscription)
    return found


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


def _secret_scopes(files: Iterable[_Read], stores: Iterable[str]) -> dict[str, SecretScope]:
    found: dict[str, SecretScope] = {}
    bodies = (
        (one.where, scope) for one in files if one.kind == "Configuration" for scope in one.body.spec.secrets.scopes
    )
    for where, scope in bodies:
        name = scope.store_name
        if name not in stores:
            raise SetupError(f"{where}: spec.secrets.scopes: no secret store {name!r}; {nearest(name, stores)}")
        if name in found:
            raise SetupError(f"{where}: spec.secrets.scopes: {name!r} has a second scope")
        found[name] = scope
    return found


def retention(component: Component) -> Retention:
    """The retention rules a `pubsub.sqlite` component asks for."""
    settings, default = component.settings, Retention()
    return Retention(
        settings.get("acknowledgedMaxAge", default.acknowledged_age),
        settings.get("acknowledgedMaxBytes", default.acknowledged_bytes),
        settings.get("unreadMaxAge", default.unread_age),
        settings.get("unreadMaxBytes", default.unread_bytes),
    )
