"""The file of a backup: a gzipped tar, written and read as a stream, in memory of a few megabytes.

manifest.json          what it is of: versions, when, the tables and their columns
backend.tasks/000000   rows as COPY writes them, in pieces; then the next table's
totals.json            rows, bytes and SHA-256 of each table, where sequences stand; without it the file was cut short
"""

import contextlib
import datetime as dt
import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO, Final, Self, TypeVar

import msgspec

FORMAT: Final = 1
PIECE: Final = 4 * 1024 * 1024
_READ: Final = 1024 * 1024
_LEVEL: Final = 3  # of gzip: twice as fast as its default, and nearly as small
_MANIFEST: Final = "manifest.json"
_TOTALS: Final = "totals.json"
_LARGEST_DOCUMENT: Final = 16 * 1024 * 1024
_DAMAGE: Final = (EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile, msgspec.DecodeError, UnicodeDecodeError)


_Add = Callable[[str, bytes], None]
_Document = TypeVar("_Document", bound=msgspec.Struct)


class DamagedError(Exception):
    """The file is no backup, damaged, or cut short; the message says which."""


class Table(msgspec.Struct, frozen=True):
    """`name` is schema and table."""

    name: str
    columns: tuple[str, ...]


class Schema(msgspec.Struct, frozen=True):
    """One service's schema at a revision; what a table refers to comes before it."""

    revision: str
    tables: tuple[Table, ...]


class Manifest(msgspec.Struct, frozen=True):
    """What a backup is of: `schemas` by name, as they were at `taken_at`."""

    format: int
    made_by: str
    taken_at: dt.datetime
    schemas: dict[str, Schema]


class Sum(msgspec.Struct, frozen=True):
    rows: int
    bytes: int
    sha256: str


class Counter(msgspec.Struct, frozen=True):
    """Where the sequence behind a column stands."""

    table: str
    column: str
    value: int
    is_called: bool


class Totals(msgspec.Struct, frozen=True):
    """What the tables came to, by name."""

    tables: dict[str, Sum]
    counters: tuple[Counter, ...]


class Writer:
    """Writes an archive; it is whole once `finish` was called."""

    def __init__(self, out: BinaryIO, manifest: Manifest) -> None:
        self._at = int(manifest.taken_at.timestamp())
        self._zip = gzip.GzipFile("", "wb", _LEVEL, out, mtime=self._at)
        self._tar = tarfile.open(fileobj=self._zip, mode="w|")  # noqa: SIM115 - closed by `finish`
        self._add(_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        self._sums: dict[str, Sum] = {}

    def table(self, name: str) -> "TableWriter":
        return TableWriter(name, self._add, self._sums)

    def finish(self, counters: list[Counter]) -> Totals:
        totals = Totals(self._sums, tuple(counters))
        self._add(_TOTALS, msgspec.json.format(msgspec.json.encode(totals), indent=1))
        self._tar.close()
        self._zip.close()
        return totals

    def _add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = len(content), self._at, 0o600
        self._tar.addfile(member, io.BytesIO(content))
        _forget_members(self._tar)


class TableWriter:
    """Takes one table's rows as they come."""

    def __init__(self, name: str, add: _Add, sums: dict[str, Sum]) -> None:
        self._name = name
        self._add = add
        self._sums = sums
        self._buffer = bytearray()
        self._hash = hashlib.sha256()
        self._pieces = self._bytes = 0

    async def take(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= PIECE:
            self._flush()

    def finish(self, rows: int) -> None:
        if self._buffer:
            self._flush()
        self._sums[self._name] = Sum(rows, self._bytes, self._hash.hexdigest())

    def _flush(self) -> None:
        piece = bytes(self._buffer)
        self._buffer.clear()
        self._hash.update(piece)
        self._add(f"{self._name}/{self._pieces:06}", piece)
        self._pieces += 1
        self._bytes += len(piece)


class Reader:
    """Reads an archive once, from its beginning to its end. Everything raises `DamagedError`.

    `rows` has to be asked for every table in the manifest's order; `finish` tells whether it all was as written.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._sums: dict[str, tuple[int, str]] = {}

    def __enter__(self) -> Self:
        with _told():
            self._zip = gzip.GzipFile(fileobj=self._source)
            self._tar = tarfile.open(fileobj=self._zip, mode="r|")
            self._next = self._tar.next()
            self.manifest = self._document(_MANIFEST, Manifest)
        if self.manifest.format != FORMAT:
            raise DamagedError(
                f"it is of format {self.manifest.format}, made by todo {self.manifest.made_by}: a version that knows it"
                " is needed"
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._tar.close()
        self._zip.close()

    def rows(self, table: str) -> Iterator[bytes]:
        """One table's rows, piece by piece."""
        digest, size, number = hashlib.sha256(), 0, 0
        while self._next is not None and self._next.name == f"{table}/{number:06}":
            for data in self._content():
                digest.update(data)
                size += len(data)
                yield data
            number += 1
        self._sums[table] = size, digest.hexdigest()

    def finish(self) -> Totals:
        """Read what is left and compare."""
        with _told():
            totals = self._document(_TOTALS, Totals)
            while self._zip.read(_READ):  # to its end, where gzip's own checksum is
                pass
        for table in (table.name for schema in self.manifest.schemas.values() for table in schema.tables):
            told = totals.tables.get(table)
            if told is None or (told.bytes, told.sha256) != self._sums.get(table):
                raise DamagedError(f"the rows of {table} are not as they were written")
        return totals

    def _document(self, name: str, kind: type[_Document]) -> _Document:
        if self._next is None or self._next.name != name or self._next.size > _LARGEST_DOCUMENT:
            raise DamagedError(f"it has no {name} where that belongs: it was cut short, or is no backup of todo")
        return msgspec.json.decode(b"".join(self._content()), type=kind)

    def _content(self) -> Iterator[bytes]:
        """The content of the member that is next; then the one after it is."""
        with _told():
            file = self._tar.extractfile(self._next) if self._next else None
            if file is None:
                raise DamagedError("it holds something that is no file")
        while True:
            with _told():
                data = file.read(_READ)
            if not data:
                break
            yield data
        with _told():
            self._next = self._tar.next()
            _forget_members(self._tar)


def _forget_members(tar: tarfile.TarFile) -> None:
    """Keep memory from growing with the file: a stream is never gone back in."""
    vars(tar)["members"] = []


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise DamagedError(f"it is damaged, cut short, or no backup of todo ({error})") from error
