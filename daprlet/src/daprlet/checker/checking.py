"""All rules over one environment: the resource files that its sidecars load together."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from daprlet.checker import delivery, references, settings, shapes, sources
from daprlet.checker.catalog import Catalog
from daprlet.checker.findings import Finding
from daprlet.checker.sources import Document
from daprlet.errors import SetupError


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the files cannot say themselves: the host's catalog, and which apps there are, in which namespace.

    None means not known. `stores` are the secret stores that the host brings along. `advice` adds what is about events
    on Dapr: what it loses, blocks or does not load.
    """

    catalog: Catalog
    apps: Collection[str] | None = None
    namespace: str | None = None
    stores: Collection[str] = ()
    advice: bool = True


def check(paths: Iterable[Path], surroundings: Surroundings) -> list[Finding]:
    """The findings of one environment, in the order of the files.

    `paths` are files, and folders whose YAML files count, as daprd and kubectl take them. Raises `SetupError` for a
    path that is not there or has none.
    """
    documents, findings = [], []
    order = {file: at for at, file in enumerate(file for path in paths for file in _files(path))}
    for file in order:
        read, unreadable = sources.read(file)
        documents += read
        findings += unreadable
    findings += check_documents([one for one in documents if shapes.is_daprs(one)], surroundings)
    return sorted(findings, key=lambda one: (order[one.path], one.line))


def check_documents(documents: Sequence[Document], surroundings: Surroundings) -> Iterator[Finding]:
    """The findings of one environment that was read already."""
    catalog, apps = surroundings.catalog, surroundings.apps
    for one in documents:
        yield from shapes.check(one, catalog)
        if one.kind == "Component":
            yield from settings.check(one, catalog)
    yield from references.duplicates(documents)
    yield from references.namespaces(documents, surroundings.namespace)
    yield from references.scopes(documents, apps)
    yield from references.targets(documents, apps)
    yield from references.secret_stores(documents, surroundings.stores)
    if surroundings.advice:
        yield from references.unscoped(documents)
        yield from delivery.unloaded(documents)
        yield from delivery.check([one for one in documents if one.kind != "Resiliency" or one.number == 1], apps)


def _files(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise SetupError(f"{path} does not exist")
        return [path]
    found = yaml_files(path)
    if not found:
        raise SetupError(f"{path} has no YAML file")
    return found


def yaml_files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.suffix in (".yaml", ".yml"))
