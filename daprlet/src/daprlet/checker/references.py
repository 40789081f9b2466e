"""What resources say about each other and about the apps: names that must exist, and that may exist once."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from daprlet.checker import settings
from daprlet.checker.findings import Finding
from daprlet.checker.sources import Document, Key
from daprlet.checker.words import nearest

_SCOPES: Final = ("publishingScopes", "subscriptionScopes")


def components(documents: Iterable[Document], category: str = "") -> list[Document]:
    """The Components, all of them or those of one category such as `pubsub`."""
    prefix = f"{category}." if category else ""
    return [one for one in documents if one.kind == "Component" and one.text("spec", "type").startswith(prefix)]


def duplicates(documents: Sequence[Document]) -> Iterator[Finding]:
    """Two resources of one kind and name: alternatives, of which an environment has one."""
    groups: dict[tuple[str, str], list[Document]] = {}
    for one in documents:
        if one.kind and one.name:
            groups.setdefault((one.kind, one.name), []).append(one)
    for group in groups.values():
        last = max(group, key=lambda one: (str(one.path), one.number)).path.name
        for one in group[1:]:
            problem = f"{one.kind} {one.name!r} is already defined in {group[0].path}"
            fix = (
                f"an environment takes one of them: `kubectl apply -f` on all leaves {last}, the last, and daprd on "
                'one host ends with "duplicate definition"'
            )
            yield one.error("duplicate", ("metadata", "name"), problem, fix)


def namespaces(documents: Iterable[Document], expected: str | None) -> Iterator[Finding]:
    """Resources that the apps' sidecars do not see."""
    for one in documents:
        given = one.text("metadata", "namespace")
        if expected and given and given != expected:
            problem = f"namespace {given!r} is not that of the apps, whose sidecars do not load it"
            yield one.error("namespace", ("metadata", "namespace"), problem, f"write {expected!r}, or leave it out")


def secret_stores(documents: Sequence[Document], builtin: Collection[str]) -> Iterator[Finding]:
    """Stores that a component or a Configuration names and that neither files nor the host define."""
    stores = {one.name for one in components(documents, "secretstores")} | set(builtin)
    for one in components(documents):
        name = one.text("auth", "secretStore")
        if name and name not in stores:
            problem = (
                f"secret store {name!r} is not defined: Dapr warns once, never loads the component, and calls to it "
                "answer 404"
            )
            yield one.error("secretStore", ("auth", "secretStore"), problem, nearest(name, stores))
    for one in documents:
        if one.kind == "Configuration":
            yield from _secret_scopes(one, stores)


def _secret_scopes(document: Document, stores: Collection[str]) -> Iterator[Finding]:
    at: Key = ("spec", "secrets", "scopes")
    seen: set[str] = set()
    for number in range(len(document.sequence(*at))):
        name, key = document.text(*at, number, "storeName"), (*at, number, "storeName")
        if name and name not in stores:
            problem = f"secret store {name!r} is not defined, so this limits nothing"
            yield document.error("secretStore", key, problem, nearest(name, stores))
        if name in seen:
            yield document.error("twice", key, f"secret store {name!r} has a second scope", "make one of the two")
        seen.add(name)


def scopes(documents: Iterable[Document], apps: Collection[str] | None) -> Iterator[Finding]:
    """Apps that do not exist, in scopes of any kind."""
    for one in documents:
        if apps is not None:
            for at, name in enumerate(one.sequence("scopes")):
                if name not in apps:
                    yield one.error("scope", ("scopes", at), f"there is no app {name!r}", nearest(str(name), apps))
        if one.kind == "Component":
            yield from _topic_scopes(one, apps)


def _topic_scopes(document: Document, apps: Collection[str] | None) -> Iterator[Finding]:
    for name in _SCOPES:
        text, key = settings.plain(document, name) or "", settings.key_of(document, name)
        for entry in filter(None, (part.strip() for part in text.split(";"))):
            app, equals, _ = entry.partition("=")
            if not equals:
                problem = f"metadata {name!r}: {entry!r} is no grant, and Dapr skips it"
                yield document.error("scope", key, problem, "write app=topic,topic; a grant of nothing is app=")
            elif apps is not None and app.strip() not in apps:
                problem = f"metadata {name!r}: there is no app {app.strip()!r}"
                yield document.error("scope", key, problem, nearest(app.strip(), apps))


def unscoped(documents: Iterable[Document]) -> Iterator[Finding]:
    """Components with credentials that every app of the namespace loads."""
    for one in components(documents):
        secret = any("secretKeyRef" in entry for entry in settings.entries(one).values())
        if secret and not one.sequence("scopes"):
            problem = "has no scopes: every app of the namespace loads it, with its credentials"
            yield one.warning("scope", (), problem, "name the apps that need it in scopes")


def targets(documents: Sequence[Document], apps: Collection[str] | None) -> Iterator[Finding]:
    """Components, pub/subs, apps and policies that a Resiliency or a Subscription names."""
    known = {one.name for one in components(documents)}
    buses = {one.name for one in components(documents, "pubsub")}
    for one in documents:
        if one.kind == "Resiliency":
            yield from _named(one, ("spec", "targets", "components"), "component", known)
            if apps is not None:
                yield from _named(one, ("spec", "targets", "apps"), "app", apps)
            yield from _policies(one, documents)
        elif one.kind == "Subscription":
            name = one.text("spec", "pubsubname")
            if name and name not in buses:
                yield one.error("target", ("spec", "pubsubname"), f"there is no pub/sub {name!r}", nearest(name, buses))


def _named(document: Document, at: Key, what: str, known: Collection[str]) -> Iterator[Finding]:
    for name in document.mapping(*at):
        if name not in known:
            problem = f"there is no {what} {name!r}, so the policy acts on nothing"
            yield document.error("target", (*at, name), problem, nearest(name, known))


def _policies(document: Document, documents: Sequence[Document]) -> Iterator[Finding]:
    """Policies are looked up by name over all Resiliency resources that an app sees."""
    for at, names in _policy_names(document):
        for kind, section in (("timeout", "timeouts"), ("retry", "retries"), ("circuitBreaker", "circuitBreakers")):
            name = names.get(kind)
            known = {
                policy
                for one in documents
                if one.kind == "Resiliency"
                for policy in one.mapping("spec", "policies", section)
            }
            if isinstance(name, str) and name and name not in known:
                problem = f"no policy in {section} is named {name!r}, so nothing happens"
                yield document.error("policy", (*at, kind), problem, nearest(name, known))


def _policy_names(document: Document) -> Iterator[tuple[Key, dict[str, object]]]:
    base: Key = ("spec", "targets")
    for group in ("apps", "actors"):
        for name in document.mapping(*base, group):
            yield (*base, group, name), dict(document.mapping(*base, group, name))
    for name in document.mapping(*base, "components"):
        for direction in ("inbound", "outbound"):
            at = (*base, "components", name, direction)
            yield at, dict(document.mapping(*at))
