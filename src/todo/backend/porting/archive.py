"""One file of a zip archive, read as a stream. Nothing is unpacked to a disk, no name in it is a path to anything."""

import struct
import zipfile
import zlib
from typing import IO, BinaryIO, Final

from todo.backend.porting.entries import BrokenFileError

MAX_ENTRIES: Final = 20_000
MAX_UNPACKED: Final = 512 * 1024 * 1024  # bytes
_MAX_DIRECTORY: Final = 8 * 1024 * 1024  # bytes: it is held in memory
_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR_SIZE: Final = 20
_KINDS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_BAD: Final = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, struct.error)


class Unpacked:
    """Reads a member in pieces. Raises `BrokenFileError` where it is damaged, or larger than may be."""

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member
        self._left = MAX_UNPACKED

    def read(self, size: int) -> bytes:
        try:
            octets = self._member.read(size)
        except _BAD as error:
            raise BrokenFileError(1, f"the archive is damaged ({type(error).__name__})") from None
        self._left -= len(octets)
        if self._left < 0:
            raise BrokenFileError(1, f"the archive unpacks to more than {MAX_UNPACKED:,} bytes")
        return octets


def open_member(file: BinaryIO, name: str) -> tuple[Unpacked, int]:
    """A file of the archive, and its size as the archive has it. Raises `BrokenFileError`."""
    _check_directory(file)
    try:
        archive = zipfile.ZipFile(file)
        known = archive.getinfo(name)
        if known.compress_type not in _KINDS:
            raise BrokenFileError(1, f"{name} is packed in a way that is not read here")
        return Unpacked(archive.open(known)), max(known.file_size, 1)
    except KeyError:
        raise BrokenFileError(1, f"there is no {name} in the archive") from None
    except _BAD as error:
        raise BrokenFileError(1, f"it is no zip archive, or a damaged one ({type(error).__name__})") from None


def _check_directory(file: BinaryIO) -> None:
    """Look at the archive's own counts before its directory is read into memory."""
    size = file.seek(0, 2)
    start = max(size - _END.size - 0xFFFF, 0)
    file.seek(start)
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < _END.size:
        raise BrokenFileError(1, "it is no zip archive")
    _, _, _, _, entries, directory, _, _ = _END.unpack_from(tail, place)
    if tail[max(place - _LOCATOR_SIZE, 0) : place].startswith(b"PK\x06\x07"):
        raise BrokenFileError(1, "it is an archive of the large kind (ZIP64), which is not read here")
    if entries > MAX_ENTRIES or directory > _MAX_DIRECTORY:
        raise BrokenFileError(1, f"there are more than {MAX_ENTRIES:,} files in the archive")
    file.seek(0)
