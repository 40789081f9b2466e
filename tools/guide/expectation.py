"""Compare what a command printed with what the page shows."""

import difflib
import re
from typing import Final

PATTERNS: Final = {
    "n": r"-?\d+(?:[.,]\d+)*",
    "id": r"[0-9A-Za-z][0-9A-Za-z_-]*",
    "uid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "time": r"(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?",
    "age": r"(?:\d+[dhms])+",
    "duration": r"\d+(?:\.\d+)?\s?(?:µs|us|ms|s|min|m|h)",
    "ip": r"\d+\.\d+\.\d+\.\d+",
}
LITERAL: Final = ("none", "unset", "unknown", "nil")  # what programs print between angle brackets themselves
_ANY: Final = "..."
_TOKEN: Final = re.compile(r"<(?P<name>[a-z]+)>|(?P<any>\.\.\.)|(?P<space>\s+)")
_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r(?!\n)")


class PatternError(ValueError):
    """A word between angle brackets that stands for nothing."""


def plain(output: str) -> list[str]:
    """Return the lines of an output as a page shows them: no colours, no space at the end, no empty lines around."""
    lines = [line.rstrip() for line in _CONTROL.sub("", output).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return lines


def agrees(shown: str, output: str) -> bool:
    """Tell whether all of an output is what the page shows. Raises PatternError."""
    return re.fullmatch(_whole(shown), "".join(f"{line}\n" for line in plain(output))) is not None


def difference(shown: str, output: str) -> str:
    """Return what was expected beside what came, line by line."""
    return "\n".join(line for line in difflib.ndiff(plain(shown), plain(output)) if not line.startswith("?"))


def _whole(shown: str) -> str:
    return "".join(r"(?:.*\n)*?" if line.strip() == _ANY else f"{_line(line)}\n" for line in plain(shown))


def _line(line: str) -> str:
    """Return the expression for a line; how wide a gap is does not count: columns move with what is in them."""
    parts: list[str] = []
    end = 0
    for token in _TOKEN.finditer(line):
        parts.append(re.escape(line[end : token.start()]))
        parts.append(_expression(token))
        end = token.end()
    return "".join(parts) + re.escape(line[end:])


def _expression(token: re.Match[str]) -> str:
    if token["any"]:
        return ".*?"
    if token["space"]:
        return r"[^\S\n]+"
    name = token["name"]
    if name in LITERAL:
        return re.escape(token[0])
    if name not in PATTERNS:
        raise PatternError(f"<{name}> stands for nothing; there are {', '.join(f'<{one}>' for one in PATTERNS)}")
    return f"(?:{PATTERNS[name]})"
