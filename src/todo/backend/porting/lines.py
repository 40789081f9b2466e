"""Lines of a text file, of bounded length."""

from collections.abc import Iterator
from typing import BinaryIO, Final

from todo.backend.porting.entries import MAX_VALUE, BrokenFileError, Reading

_LONGEST: Final = 4 * MAX_VALUE  # bytes: a line holds one task at most


def text_lines(file: BinaryIO, reading: Reading) -> Iterator[str]:
    """Lines with their ends, as UTF-8. Raises `BrokenFileError`."""
    number = 0
    while line := file.readline(_LONGEST):
        number += 1
        reading.read += len(line)
        if len(line) == _LONGEST:
            raise BrokenFileError(number, f"the line has more than {_LONGEST:,} bytes")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BrokenFileError(number, f"it is not UTF-8 (byte {error.start + 1} of the line)") from None
