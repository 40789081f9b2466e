"""Imports and exports through the API, as a script does them."""

import io
import json
from dataclasses import dataclass
from typing import Any

from tests.integration.backend.service import Api


@dataclass(frozen=True)
class Report:
    """What an import said."""

    lines: list[dict[str, Any]]

    @property
    def done(self) -> dict[str, Any]:
        done: dict[str, Any] = self.lines[-1]["done"]
        return done

    @property
    def losses(self) -> list[tuple[int, str, str]]:
        """(line, field, what was done instead)"""
        return [(one["line"], one["field"], one["instead"]) for one in self._all("loss")]

    @property
    def broken(self) -> list[tuple[int, str]]:
        """(line, problem)"""
        return [(one["line"], one["problem"]) for one in self._all("broken")]

    def _all(self, kind: str) -> list[dict[str, Any]]:
        return [line[kind] for line in self.lines if kind in line]


async def import_file(api: Api, kind: str, content: str | bytes, **query: str) -> Report:
    data = io.BytesIO(content.encode() if isinstance(content, str) else content)
    headers = {"content-type": "application/octet-stream"}
    answer = await api.call("POST", "/imports", data=data, query={"format": kind} | query, **headers)
    assert answer.status == 200, answer
    return Report([json.loads(line) for line in answer.body.splitlines()])


async def import_all(api: Api, kind: str, content: str | bytes, **query: str) -> Report:
    """Really."""
    return await import_file(api, kind, content, dry_run="false", **query)


async def export(api: Api, kind: str) -> str:
    answer = await api.get("/exports", format=kind)
    assert answer.status == 200, answer
    return json.dumps(answer.body) if kind == "json" else str(answer.body)


async def tasks_of(api: Api) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = (await api.get("/tasks", status="all", limit="500")).body["tasks"]
    return tasks
