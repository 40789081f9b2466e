"""Docker archives as tests read them: what an image says of itself, and the files of its layers."""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Archive:
    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        with tarfile.open(self.path) as archive:
            config: dict[str, Any] = json.load(_file(archive, self._manifest["Config"]))
        return config

    @cached_property
    def sizes(self) -> list[int]:
        """Of the layers, unpacked, the base's first."""
        with tarfile.open(self.path) as archive:
            return [archive.getmember(name).size for name in self._manifest["Layers"]]

    def files(self, below: str = "") -> Iterator[tuple[str, bytes]]:
        """Names and contents of the regular files below a folder, layer by layer."""
        with tarfile.open(self.path) as archive:
            for name in self._manifest["Layers"]:
                with tarfile.open(fileobj=_file(archive, name)) as layer:
                    for member in layer:
                        if member.isfile() and member.name.startswith(below):
                            yield member.name, _file(layer, member).read()

    @cached_property
    def names(self) -> list[str]:
        """The paths of all files and folders."""
        found: list[str] = []
        with tarfile.open(self.path) as archive:
            for name in self._manifest["Layers"]:
                with tarfile.open(fileobj=_file(archive, name)) as layer:
                    found += layer.getnames()
        return found

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        with tarfile.open(self.path) as archive:
            manifest: dict[str, Any] = json.load(_file(archive, "manifest.json"))[0]
        return manifest


def _file(archive: tarfile.TarFile, member: str | tarfile.TarInfo) -> io.BufferedReader:
    found = archive.extractfile(member)
    assert found is not None, member
    return found  # type: ignore[return-value]  # it is one
