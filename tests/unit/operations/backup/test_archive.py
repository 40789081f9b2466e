"""The file of a backup: a stream both ways, and whatever happened to it on its way is noticed."""

import datetime as dt
import gzip
import io
import os
import tracemalloc
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from todo.operations.backup.archive import PIECE, DamagedError, Manifest, Reader, Schema, Table, Totals, Writer

NOON = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)
TABLES = (Table("shop.empty", ("id",)), Table("shop.goods", ("id", "name")), Table("shop.last", ("id",)))
MANIFEST = Manifest(1, "0.1.0", NOON, {"shop": Schema("0001", TABLES)})


async def written(rows: dict[str, list[bytes]], out: BinaryIO) -> Totals:
    writer = Writer(out, MANIFEST)
    for table in TABLES:
        part = writer.table(table.name)
        for data in rows.get(table.name, []):
            await part.take(data)
        part.finish(len(rows.get(table.name, [])))
    return writer.finish([])


def read(content: bytes) -> dict[str, bytes]:
    with Reader(io.BytesIO(content)) as reader:
        found = {
            table.name: b"".join(reader.rows(table.name))
            for schema in reader.manifest.schemas.values()
            for table in schema.tables
        }
        reader.finish()
        return found


async def test_what_was_written_is_read_in_pieces_or_not_at_all() -> None:
    out = io.BytesIO()
    large = [os.urandom(PIECE // 3) for _ in range(7)]
    totals = await written({"shop.goods": large, "shop.last": [b"1\n"]}, out)

    assert read(out.getvalue()) == {"shop.empty": b"", "shop.goods": b"".join(large), "shop.last": b"1\n"}
    assert totals.tables["shop.goods"].bytes == sum(map(len, large))


async def test_whatever_bit_is_changed_it_is_noticed_unless_it_says_the_same() -> None:
    """Deflate can say some things in two ways; and gzip's own head holds a time that nobody reads."""
    out = io.BytesIO()
    await written({"shop.goods": [os.urandom(3000)], "shop.last": [b"1\n"]}, out)
    whole, noticed = out.getvalue(), 0
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        try:
            read(bytes(changed))
        except DamagedError:
            noticed += 1
        else:
            assert gzip.decompress(changed) == gzip.decompress(whole)
    assert noticed > len(whole) // 3 * 0.9


async def test_wherever_it_is_cut_it_is_noticed() -> None:
    out = io.BytesIO()
    await written({"shop.goods": [os.urandom(3000)], "shop.last": [b"1\n"]}, out)
    whole = out.getvalue()
    for length in range(0, len(whole), 7):
        with pytest.raises(DamagedError):
            read(whole[:length])


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"not a backup", Path(__file__).read_bytes()])
def test_what_is_no_backup_is_called_so(content: bytes) -> None:
    with pytest.raises(DamagedError, match="no backup"):
        read(content)


async def test_memory_does_not_grow_with_the_data() -> None:
    """64 MB through a writer that keeps nothing: at no time more than a few pieces are held."""

    class Nowhere(io.RawIOBase):
        def write(self, data: object) -> int:
            return len(memoryview(cast("bytes", data)))

    row = b"\0" * 65536
    tracemalloc.start()
    try:
        await written({"shop.goods": [row] * 1024}, cast("BinaryIO", Nowhere()))
        assert tracemalloc.get_traced_memory()[1] < 6 * PIECE
    finally:
        tracemalloc.stop()
