"""Kind, apiVersion and the keys of a resource, against the schemas that a cluster has for them."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from daprlet.checker.catalog import Catalog
from daprlet.checker.findings import Finding
from daprlet.checker.sources import Document, Key
from daprlet.checker.words import nearest

_GROUP: Final = "dapr.io/"
_OBJECT_META: Final = (  # Kubernetes' ObjectMeta
    "name",
    "namespace",
    "labels",
    "annotations",
    "generateName",
    "finalizers",
    "ownerReferences",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
_NAMES: Final = {
    "string": "text (in quotes)",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}
_UNREAD: Final = "the resource is not loaded"


def is_daprs(document: Document) -> bool:
    """Whether a document means to be a resource of Dapr's; a folder of manifests has others too."""
    return not document.text("apiVersion") or document.text("apiVersion").startswith(_GROUP)


def check(document: Document, catalog: Catalog) -> Iterator[Finding]:
    """What is wrong with the form of a document."""
    yield from (
        document.error("twice", key, "is given twice, and the last one counts", "delete one") for key in document.twice
    )
    if not isinstance(document.data, dict):
        fix = "write one, or delete the document"
        yield document.error("resource", (), "a resource is a mapping with apiVersion, kind, metadata and spec", fix)
        return
    versions = catalog.kinds.get(document.kind)
    if versions is None:
        problem = f"kind {document.kind!r} is none that {catalog.host} reads, so it is not loaded"
        yield document.error("kind", ("kind",), problem, nearest(document.kind, catalog.kinds))
        return
    given = document.text("apiVersion")
    if given not in versions:
        problem = f"apiVersion {given!r} of {document.kind} is unknown, so it is not loaded"
        yield document.error("apiVersion", ("apiVersion",), problem, nearest(given, versions))
        return
    yield from _identity(document)
    yield from _value(document, (), document.data, versions[given])


def _identity(document: Document) -> Iterator[Finding]:
    for name in document.mapping("metadata"):
        if name not in _OBJECT_META:
            yield document.error("key", ("metadata", name), f"unknown key {name!r}", nearest(name, _OBJECT_META))
    if not document.name:
        yield document.error("required", ("metadata",), f"has no name: {_UNREAD}", "write metadata.name")


def _value(document: Document, key: Key, value: Any, schema: Mapping[str, Any]) -> Iterator[Finding]:  # noqa: ANN401 - YAML
    if value is None:
        return
    expected = schema.get("type")
    if expected and not _is(value, expected):
        problem = f"is {_NAMES[_kind(value)]} where Dapr reads {_NAMES[expected]}: {_UNREAD}"
        yield document.error("type", key, problem, f"write {_NAMES[expected]}")
    elif "enum" in schema and value not in schema["enum"]:
        yield document.error("value", key, f"{value!r} is not one of its values", nearest(str(value), schema["enum"]))
    elif isinstance(value, dict):
        yield from _mapping(document, key, value, schema)
    elif isinstance(value, list) and "items" in schema:
        for at, one in enumerate(value):
            yield from _value(document, (*key, at), one, schema["items"])


def _mapping(document: Document, key: Key, value: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Finding]:
    known, others = schema.get("properties"), schema.get("additionalProperties")
    for name, one in value.items():
        if known is not None and name in known:
            yield from _value(document, (*key, name), one, known[name])
        elif others is not None:
            yield from _value(document, (*key, name), one, others)
        elif known is not None:
            yield document.error(
                "key", (*key, name), f"unknown key {name!r}, which Dapr ignores", _fix(key, name, known)
            )
    for name in schema.get("required", ()):
        if value.get(name) is None and (key, name) != (("spec",), "metadata"):  # daprd reads its absence as empty
            yield document.error("required", key, f"has no {name!r}, which is required", f"write {name}")


def _fix(key: Key, name: str, known: Mapping[str, Any]) -> str:
    if key == ("spec",) and name in ("auth", "scopes"):
        return f"{name} belongs beside spec, not into it"
    return nearest(name, known)


def _is(value: object, expected: str) -> bool:
    if isinstance(value, bool):
        return expected == "boolean"
    return isinstance(value, _TYPES[expected])


def _kind(value: object) -> str:
    return next(name for name in ("boolean", *_TYPES) if _is(value, name))
