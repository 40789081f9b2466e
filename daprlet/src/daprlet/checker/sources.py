"""Resource files as plain data that still knows on which line everything stands."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from daprlet.checker.findings import Finding, Severity

Key = tuple[str | int, ...]

_PLAIN = (str, int, float, bool, type(None))


@dataclass(slots=True)
class Document:
    """One YAML document of a file. `lines` has the line of each key; `twice` the keys given more than once."""

    path: Path
    number: int  # 1 for the first of its file
    data: Any = None
    lines: dict[Key, int] = field(default_factory=dict)
    twice: list[Key] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.text("kind")

    @property
    def name(self) -> str:
        return self.text("metadata", "name")

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name!r}" if self.kind and self.name else self.kind

    def at(self, *key: str | int) -> Any:  # noqa: ANN401 - YAML
        """The value there, or None."""
        found = self.data
        for part in key:
            try:
                found = found[part]
            except (KeyError, IndexError, TypeError):
                return None
        return found

    def text(self, *key: str | int) -> str:
        found = self.at(*key)
        return found if isinstance(found, str) else ""

    def mapping(self, *key: str | int) -> Mapping[str, Any]:
        found = self.at(*key)
        return found if isinstance(found, dict) else {}

    def sequence(self, *key: str | int) -> Sequence[Any]:
        found = self.at(*key)
        return found if isinstance(found, list) else ()

    def line(self, key: Key) -> int:
        """The line of that key, or of the nearest thing around it."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)

    def error(self, rule: str, key: Key, problem: str, fix: str) -> Finding:
        return self._finding(Severity.ERROR, rule, key, problem, fix)

    def warning(self, rule: str, key: Key, problem: str, fix: str) -> Finding:
        return self._finding(Severity.WARNING, rule, key, problem, fix)

    def _finding(self, severity: Severity, rule: str, key: Key, problem: str, fix: str) -> Finding:
        return Finding(severity, rule, self.path, self.line(key), self.label, self._shown(key), problem, fix)

    def _shown(self, key: Key) -> str:
        """The path as people read it; an entry of a list goes by its `name` where it has one."""
        shown = ""
        for depth, part in enumerate(key):
            if isinstance(part, int):
                shown += f"[{self.text(*key[: depth + 1], 'name') or part}]"
            else:
                shown += f".{part}" if shown else part
        return shown


def read(path: Path) -> tuple[list[Document], list[Finding]]:
    """The documents of a file that are not empty; a file that cannot be read is a finding."""
    found: list[Document] = []
    try:
        with path.open(encoding="utf-8") as file:
            found.extend(_documents(path, file.read()))
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return [], [Document(path, 1).error("unreadable", (), f"cannot be read: {problem}", "mend the file")]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        broken = Document(path, 1, lines={(): mark.line + 1 if mark else 1})
        problem = getattr(error, "problem", None) or str(error)
        fix = "mend the YAML: Dapr skips the document with one line in its log"
        return found, [broken.error("yaml", (), f"is not YAML: {problem}", fix)]
    return found, []


def _documents(path: Path, text: str) -> Iterator[Document]:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    number = 0
    while loader.check_node():
        node = loader.get_node()
        number += 1
        document = Document(path, number)
        document.data = _Builder(loader, document).value(node, ())
        if document.data is not None:
            yield document


class _Builder:
    """Turns YAML nodes into plain data and notes their lines."""

    def __init__(self, loader: Any, document: Document) -> None:  # noqa: ANN401 - the C loader has no type
        self._loader = loader
        self._document = document
        self._around: set[int] = set()

    def value(self, node: yaml.Node, key: Key) -> Any:  # noqa: ANN401 - YAML
        self._document.lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            plain = self._loader.construct_object(node)
            return plain if isinstance(plain, _PLAIN) else node.value
        if id(node) in self._around:
            raise yaml.constructor.ConstructorError(None, None, "an alias that contains itself", node.start_mark)
        self._around.add(id(node))
        try:
            return self._mapping(node, key) if isinstance(node, yaml.MappingNode) else self._sequence(node, key)
        finally:
            self._around.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        self._loader.flatten_mapping(node)
        found: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = str(name_node.value)
            inside = (*key, name)
            if name in found:
                self._document.twice.append(inside)
            self._document.lines[inside] = name_node.start_mark.line + 1
            found[name] = self.value(value_node, inside)
        return found

    def _sequence(self, node: yaml.Node, key: Key) -> list[Any]:
        return [self.value(one, (*key, at)) for at, one in enumerate(node.value)]
