"""A component's type, version and metadata entries."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from daprlet.checker.catalog import Catalog, ComponentType, Requirement, Setting
from daprlet.checker.findings import Finding
from daprlet.checker.sources import Document, Key
from daprlet.checker.words import nearest

_SOURCES: Final = ("value", "secretKeyRef", "envRef")
_PLACEHOLDERS: Final = ("{appID}", "{namespace}", "{podName}", "{uuid}")
_AT: Final[Key] = ("spec", "metadata")


def check(document: Document, catalog: Catalog) -> Iterator[Finding]:
    """What is wrong with what a Component says about itself."""
    name, version = document.text("spec", "type"), document.text("spec", "version") or "v1"
    if name not in catalog.versions:
        yield _unknown_type(document, name, catalog)
        return
    if version not in catalog.versions[name]:
        problem = f"version {version!r} of {name} does not exist in {catalog.host}: {catalog.refusal}"
        yield document.error("version", ("spec", "version"), problem, nearest(version, catalog.versions[name]))
        return
    found = catalog.find(name, version)
    if found is None:
        return
    yield from _entries(document, found)
    yield from _missing(document, found)


def entries(document: Document) -> dict[str, Any]:
    """The metadata entries by name in lower case, as Dapr compares them."""
    return {str(one["name"]).lower(): one for one in document.sequence(*_AT) if isinstance(one, dict) and "name" in one}


def plain(document: Document, name: str) -> str | None:
    """The value of an entry as Dapr reads it; None when it is not there or comes from elsewhere."""
    entry = entries(document).get(name.lower())
    return None if entry is None else as_text(entry.get("value"))


def as_text(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None or isinstance(value, dict | list) else str(value)


def key_of(document: Document, name: str) -> Key:
    """Where an entry stands."""
    for at, one in enumerate(document.sequence(*_AT)):
        if isinstance(one, dict) and str(one.get("name", "")).lower() == name.lower():
            return (*_AT, at)
    return _AT


def _unknown_type(document: Document, name: str, catalog: Catalog) -> Finding:
    problem = f"component type {name!r} is none that {catalog.host} has: {catalog.refusal}"
    category = name.partition(".")[0]
    if category in ("jobs", "scheduler"):
        return document.error("type", ("spec", "type"), problem, "delete it: jobs need the Scheduler and no component")
    near = [one for one in catalog.versions if one.startswith(f"{category}.")] or {
        one.partition(".")[0] for one in catalog.versions
    }
    return document.error("type", ("spec", "type"), problem, nearest(name, near))


def _entries(document: Document, kind: ComponentType) -> Iterator[Finding]:
    seen: set[str] = set()
    for at, entry in enumerate(document.sequence(*_AT)):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            continue  # the schema's finding
        key, name = (*_AT, at), entry["name"]
        setting = kind.find(name)
        identity = setting.name if setting else name.lower()
        if identity in seen:
            yield document.error("twice", key, f"metadata {name!r} is given twice", "delete one")
        seen.add(identity)
        yield from _source(document, key, entry)
        if setting is None:
            yield from _unknown(document, key, name, kind)
        else:
            yield from _known(document, key, entry, setting)


def _source(document: Document, key: Key, entry: Mapping[str, Any]) -> Iterator[Finding]:
    given = [one for one in _SOURCES if entry.get(one) not in (None, "", {}) or (one == "value" and one in entry)]
    if len(given) > 1:
        problem = f"metadata {entry['name']!r} has more than one of value, secretKeyRef and envRef"
        yield document.error("sources", key, problem, "keep one of them")


def _unknown(document: Document, key: Key, name: str, kind: ComponentType) -> Iterator[Finding]:
    stranger = kind.strangers.get(name.lower())
    problem = f"metadata {name!r} is unknown to {kind.name}, and Dapr ignores it without a word"
    if stranger is not None:
        yield document.error("setting", key, f"{problem}: {stranger.wanted}", stranger.fix)
    elif kind.complete:
        yield document.error("setting", key, problem, nearest(name, kind.names))
    else:
        problem = f"metadata {name!r} is not described for {kind.name}: Dapr ignores what it does not know"
        yield document.warning("setting", key, problem, nearest(name, kind.names))


def _known(document: Document, key: Key, entry: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
    if setting.exact and entry["name"] != setting.name:
        problem = f"metadata {entry['name']!r} is not found by Dapr, which looks for this very spelling"
        yield document.error("spelling", key, problem, f"write {setting.name!r}")
    text = as_text(entry.get("value"))
    if not text or any(one in text for one in _PLACEHOLDERS):
        return
    wrong = setting.problem(text)
    if wrong is not None:
        yield document.error("value", key, f"metadata {setting.name!r}: {_full(wrong, setting)}", _fix(text, setting))
    elif setting.sensitive and entry.get("secretKeyRef") is None:
        problem = f"metadata {setting.name!r} is a secret that whoever reads the file can read"
        yield document.warning("secret", (*key, "value"), problem, "put it into a secret and write a secretKeyRef")


def _full(problem: str, setting: Setting) -> str:
    return problem if setting.parse is not None else f"{problem}: {setting.consequence}"


def _fix(text: str, setting: Setting) -> str:
    if setting.parse is not None:
        return "correct it"
    if setting.fix:
        return setting.fix
    return nearest(text, setting.allowed) if setting.allowed else f"write a {setting.type}"


def _missing(document: Document, kind: ComponentType) -> Iterator[Finding]:
    given = entries(document)
    names = {setting.name for name in given if (setting := kind.find(name))}
    for name in sorted({one.name for one in kind.settings.values() if one.required} - names):
        yield _required(document, kind, name, "")
    for one in kind.requirements:
        if all((plain(document, name) or "").lower() == value for name, value in one.when.items()):
            yield from _requirement(document, kind, one, names)


def _requirement(document: Document, kind: ComponentType, one: Requirement, names: set[str]) -> Iterator[Finding]:
    missing = [name for name in one.settings if name not in names]
    when = " with " + ", ".join(f"{name}: {value}" for name, value in one.when.items()) if one.when else ""
    if one.one_of and len(missing) == len(one.settings):
        yield _required(document, kind, missing[0], when)
    elif not one.one_of:
        yield from (_required(document, kind, name, when) for name in missing)


def _required(document: Document, kind: ComponentType, name: str, when: str) -> Finding:
    problem = f"metadata {name!r} is required by {kind.name}{when}"
    return document.error("required", _AT if _AT in document.lines else ("spec",), problem, f"write {name}")
