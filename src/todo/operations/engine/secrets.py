"""The file behind the sidecars' secret store: `{"secret name": {"KEY": "value"}}`."""

import json
from pathlib import Path

from todo.operations.datafolder import write_secret


class Secrets:
    """Read once, changed in memory, written whole by `save`. What rotations and people put there stays."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._content: dict[str, dict[str, str]] = json.loads(place.read_bytes()) if place.exists() else {}

    def of(self, name: str) -> dict[str, str]:
        return self._content.setdefault(name, {})

    def keep(self, name: str, **defaults: str) -> dict[str, str]:
        """Add what the secret lacks and return it."""
        secret = self.of(name)
        for key, value in defaults.items():
            secret.setdefault(key, value)
        return secret

    def save(self) -> None:
        write_secret(self.place, json.dumps(self._content, indent=2).encode())
