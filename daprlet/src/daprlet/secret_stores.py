"""`secretstores.local.file` and `secretstores.local.env`."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from daprlet.errors import SetupError


class SecretStore(Protocol):
    """Read-only secrets by name; a secret is one or several key/value pairs."""

    def get(self, name: str) -> dict[str, str] | None:
        """The pairs of a secret, or None when there is no such secret."""
        ...

    def all(self) -> dict[str, dict[str, str]]:
        """Every secret the store holds."""
        ...


class FileStore:
    """Secrets of a JSON file, read anew whenever the file has changed, so a rotated secret is seen at once.

    Nested objects become names joined by `separator`; with `multi_valued` the top level names the secret and what is
    below are its keys.
    """

    def __init__(self, path: Path, separator: str = ":", *, multi_valued: bool = False) -> None:
        self._path = path
        self._separator = separator
        self._multi_valued = multi_valued
        self._stamp: tuple[int, int] | None = None
        self._secrets: dict[str, dict[str, str]] = {}
        self.all()

    def get(self, name: str) -> dict[str, str] | None:
        return self.all().get(name)

    def all(self) -> dict[str, dict[str, str]]:
        """Raises `SetupError` when the file is missing or is not a JSON object."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._secrets = self._load(self._path.read_text(encoding="utf-8"))
                self._stamp = stamp
        except (OSError, ValueError) as error:
            raise SetupError(f"the secrets file {self._path} cannot be read: {error}") from error
        return self._secrets

    def _load(self, text: str) -> dict[str, dict[str, str]]:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")  # noqa: TRY004 - wrong content, not a wrong argument
        if self._multi_valued:
            return {name: self._keys(name, value) for name, value in content.items()}
        return {name: {name: value} for name, value in self._flatten("", content).items()}

    def _keys(self, name: str, value: object) -> dict[str, str]:
        return self._flatten("", value) if isinstance(value, dict) else {name: _text(value)}

    def _flatten(self, prefix: str, tree: Mapping[str, Any]) -> dict[str, str]:
        flat: dict[str, str] = {}
        for name, value in tree.items():
            full = f"{prefix}{self._separator}{name}" if prefix else name
            flat.update(self._flatten(full, value) if isinstance(value, dict) else {full: _text(value)})
        return flat


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class EnvironmentStore:
    """Environment variables that begin with `prefix`, named without it; Dapr's own are hidden.

    As in Dapr, a variable that is not set reads as an empty string.
    """

    def __init__(self, prefix: str = "", environment: Mapping[str, str] = os.environ) -> None:
        self._prefix = prefix
        self._environment = environment

    def get(self, name: str) -> dict[str, str]:
        full = self._prefix + name
        return {name: "" if _hidden(full) else self._environment.get(full, "")}

    def all(self) -> dict[str, dict[str, str]]:
        length = len(self._prefix)
        return {
            name[length:]: {name[length:]: value}
            for name, value in self._environment.items()
            if name.startswith(self._prefix) and not _hidden(name)
        }


def _hidden(name: str) -> bool:
    return name.upper().startswith("DAPR_") or name.upper() == "APP_API_TOKEN"
