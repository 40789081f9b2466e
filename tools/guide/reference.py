"""The reference pages of the site, as Markdown: events from the AsyncAPI document, the API from the OpenAPI one."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from unittest.mock import patch

from todo.backend.app import create_app
from todo.contracts import names
from todo.operations import asyncapi
from todo.service.settings import read_settings

Schema = Mapping[str, Any]

METHODS: Final = ("get", "post", "put", "patch", "delete")
_EVENTS: Final = (
    "This page shows [events.asyncapi.yaml](../events.asyncapi.yaml), an AsyncAPI 3 document, which is generated from"
    " the code and compared with what crosses the wire."
)
_API: Final = (
    "This page shows the OpenAPI document that backend serves at `/openapi.json`; `/docs` there lets you try it."
    " Who may call what is said in [Who may call the API](../auth.md)."
)
_SETTINGS: Final = {
    "DAPR_API_TOKEN": "none",
    "APP_API_TOKEN": "none",
    "TODO_AUTH": "required",
    "DAPR_HTTP_PORT": str(names.BACKEND.dapr_port),
    "DATABASE_URL": "postgresql://nobody@localhost/todo",  # asked for, and not used
}


def events() -> str:
    """Render the AsyncAPI document as a page."""
    document = asyncapi.document()
    info = document["info"]
    parts = [
        "# Events",
        info["description"],
        f"{_EVENTS} Version {info['version']}.",
        "## Topics",
        *(part for topic in document["channels"] for part in _channel(document, topic)),
        "## Messages",
        _table(("type", "what it tells", "its `data`"), _messages(document)),
        "## Data",
        *_schemas(document["components"]["schemas"]),
    ]
    return "\n\n".join(parts) + "\n"


def api() -> str:
    """Render the OpenAPI document of backend as a page."""
    with patch.dict(os.environ, _SETTINGS, clear=True):
        document = create_app(read_settings(names.BACKEND, _SETTINGS)).openapi()
    operations = [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    parts = [
        "# API",
        f"{document['info']['summary']}. Version {document['info']['version']}.",
        _API,
        *(part for path, method, operation in operations for part in _operation(path, method, operation)),
        "## Schemas",
        *_schemas(document["components"]["schemas"]),
    ]
    return "\n\n".join(parts) + "\n"


def _channel(document: Schema, topic: str) -> Iterator[str]:
    channel = document["channels"][topic]
    yield f"### `{topic}`"
    yield channel["description"]
    uses = {"send": "published by", "receive": "read by"}
    rows = [
        (said, name.partition(".")[0], ", ".join(_kinds(operation.get("messages", []))))
        for action, said in uses.items()
        for name, operation in document["operations"].items()
        if operation["action"] == action and operation["channel"]["$ref"].endswith(f"/{topic}")
    ]
    yield _table(("", "app", "messages"), [(said, f"`{app}`", kinds or "as they came") for said, app, kinds in rows])


def _kinds(references: Iterable[Mapping[str, str]]) -> list[str]:
    return [f"`todo.{_last(reference)}`" for reference in references]


def _messages(document: Schema) -> Iterator[tuple[str, str, str]]:
    for message in document["components"]["messages"].values():
        data = message.get("payload", {}).get("properties", {}).get("data")
        yield f"`{message['name']}`", message["summary"], _type(data) if data else "the bytes"


def _operation(path: str, method: str, operation: Schema) -> Iterator[str]:
    yield f"## {method.upper()} `{path}`"
    if operation.get("description"):
        yield operation["description"]
    if operation.get("parameters"):
        rows = [
            (f"`{one['name']}`", one["in"], _type(one["schema"]), _said(one, required=one.get("required", False)))
            for one in operation["parameters"]
        ]
        yield _table(("parameter", "in", "type", ""), rows)
    if body := operation.get("requestBody"):
        yield f"Body: {_content(body)}"
    answers = [(code, answer["description"], _content(answer)) for code, answer in operation["responses"].items()]
    yield _table(("answer", "", "body"), sorted(answers))


def _content(holder: Schema) -> str:
    return ", ".join(_type(one.get("schema", {})) for one in holder.get("content", {}).values())


def _schemas(schemas: Mapping[str, Schema]) -> Iterator[str]:
    for name, schema in schemas.items():
        yield f"### {name}"
        if schema.get("description"):
            yield str(schema["description"])
        if "enum" in schema:
            yield _type(schema)
        if "properties" in schema:
            required = schema.get("required", [])
            rows = [
                (f"`{field}`", _type(value), _said(value, required=field in required))
                for field, value in schema["properties"].items()
            ]
            yield _table(("field", "type", ""), rows)


def _type(schema: Schema) -> str:
    """Say what a schema takes, in a few words."""
    if "$ref" in schema:
        name = _last(schema)
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if several := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return " or ".join(_type(one) for one in several)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kinds = schema.get("type", "any")
    return f"{kinds if isinstance(kinds, str) else ' or '.join(kinds)}{_limits(schema)}"


def _limits(schema: Schema) -> str:
    limits = [
        schema.get("format", ""),
        f"at least {schema['minimum']:g}" if "minimum" in schema else "",
        f"at most {schema['maximum']:g}" if "maximum" in schema else "",
        f"up to {schema['maxLength']} characters" if "maxLength" in schema else "",
        f"`{schema['pattern']}`" if "pattern" in schema else "",
    ]
    told = ", ".join(limit for limit in limits if limit)
    return f" ({told})" if told else ""


def _said(schema: Schema, *, required: bool) -> str:
    default = "" if schema.get("default") in (None, "", []) else f"default `{schema['default']}`"
    return "; ".join(part for part in ("required" if required else "", schema.get("description", ""), default) if part)


def _last(reference: Mapping[str, str]) -> str:
    return reference["$ref"].rpartition("/")[2]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
