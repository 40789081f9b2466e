"""The part of JSON Schema that our documents use, checked strictly: a keyword that is not known here is an error."""

import base64
import binascii
import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from uuid import UUID

Json = Any
Schema = Mapping[str, Json]
Keyword = Callable[["Checker", Json, Json, Schema], Iterator[str]]

TYPES: Final = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
SILENT: Final = {"title", "description", "default", "required"}  # "required" is read with "properties"


class Checker:
    """Checks values against schemas whose references point into `document`."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def faults(self, value: Json, schema: Schema) -> list[str]:
        """What of `value` is not as the schema says; nothing when all is well."""
        return [
            fault
            for keyword, argument in schema.items()
            if keyword not in SILENT
            for fault in KEYWORDS[keyword](self, value, argument, schema)
        ]

    def resolve(self, reference: str) -> Json:
        """What a local reference (`#/a/b`) points to; KeyError when that is nothing."""
        found: Json = self._document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        return found


def _reference(checker: Checker, value: Json, reference: str, _: Schema) -> Iterator[str]:
    yield from checker.faults(value, checker.resolve(reference))


def _type(_: Checker, value: Json, name: str, __: Schema) -> Iterator[str]:
    if not TYPES[name](value):
        yield f"{value!r} is no {name}"


def _properties(checker: Checker, value: Json, properties: Schema, schema: Schema) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, part in properties.items():
            if name in value:
                yield from (f"{name}: {fault}" for fault in checker.faults(value[name], part))


def _items(checker: Checker, value: Json, part: Schema, _: Schema) -> Iterator[str]:
    for item in value if isinstance(value, list) else ():
        yield from checker.faults(item, part)


def _all_of(checker: Checker, value: Json, parts: list[Schema], _: Schema) -> Iterator[str]:
    for part in parts:
        yield from checker.faults(value, part)


def _any_of(checker: Checker, value: Json, parts: list[Schema], _: Schema) -> Iterator[str]:
    faults = [checker.faults(value, part) for part in parts]
    if all(faults):
        yield f"none fits: {faults}"


def _enum(_: Checker, value: Json, allowed: list[Json], __: Schema) -> Iterator[str]:
    if value not in allowed:
        yield f"{value!r} is none of {allowed}"


def _const(_: Checker, value: Json, only: Json, __: Schema) -> Iterator[str]:
    if value != only:
        yield f"{value!r} is not {only!r}"


def _minimum(_: Checker, value: Json, least: int, __: Schema) -> Iterator[str]:
    if isinstance(value, int) and value < least:
        yield f"{value} is less than {least}"


def _pattern(_: Checker, value: Json, pattern: str, __: Schema) -> Iterator[str]:
    if isinstance(value, str) and re.search(pattern, value) is None:
        yield f"{value!r} does not match {pattern}"


def _format(_: Checker, value: Json, name: str, __: Schema) -> Iterator[str]:
    try:
        if isinstance(value, str):
            FORMATS[name](value)
    except ValueError:
        yield f"{value!r} is no {name}"


def _content_encoding(_: Checker, value: Json, name: str, __: Schema) -> Iterator[str]:
    try:
        if name != "base64" or not isinstance(value, str):
            yield f"{value!r} is no {name} text"
        else:
            base64.b64decode(value, validate=True)
    except binascii.Error:
        yield f"{value!r} is not base64"


def _instant(text: str) -> None:
    if dt.datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("no offset")


FORMATS: Final[Mapping[str, Callable[[str], object]]] = {"date-time": _instant, "uuid": UUID}
KEYWORDS: Final[Mapping[str, Keyword]] = {
    "$ref": _reference,
    "type": _type,
    "properties": _properties,
    "items": _items,
    "allOf": _all_of,
    "anyOf": _any_of,
    "enum": _enum,
    "const": _const,
    "minimum": _minimum,
    "pattern": _pattern,
    "format": _format,
    "contentEncoding": _content_encoding,
}
