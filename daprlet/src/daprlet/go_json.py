"""JSON as Go's decoders read it, for Dapr takes bodies that a strict reader refuses.

Go ignores the case of names, takes `null` for any value, stops after the first value of a body, and makes U+FFFD of
what is no UTF-8. What is well-formed and spelt right takes a fast path.
"""

import codecs
import contextlib
import json
import math
import re
import types
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import msgspec

from daprlet.errors import MALFORMED

T = TypeVar("T")

_REPLACED: Final = "\ufffd"
_EVERY_BYTE: Final = "daprlet-every-byte"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_UNUSUAL: Final = re.compile(rb"(?:^|[:,\[\s])-?(?:\d[\d.]{15}|\d[\d.]*[eE])")  # where a double may change a number
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?')
_PLAIN: Final = (1e-6, 1e21)  # between these Go writes no exponent
_ZERO: Final[dict[Any, object]] = {str: "", int: 0, float: 0.0, bool: False}


def _replace_every_byte(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _REPLACED * (error.end - error.start), error.end


codecs.register_error(_EVERY_BYTE, _replace_every_byte)


def text(body: bytes) -> str:
    """The body as text, with U+FFFD for each byte that is not part of UTF-8."""
    return body.decode("utf-8", errors=_EVERY_BYTE)


def check_utf8(body: bytes) -> None:
    """Raise UnicodeDecodeError (a ValueError) for anything else; a JSON reader may pass over it."""
    if not body.isascii():
        body.decode()


def decode(body: bytes, kind: type[T]) -> T:
    """The first value in `body` as a `kind`; raises one of `MALFORMED`.

    Structs in `kind` should forbid unknown fields: a name in another case is one that the fast path does not know.
    """
    with contextlib.suppress(*MALFORMED):
        check_utf8(body)
        return msgspec.json.decode(body, type=kind)
    return msgspec.json.decode(_dump(_fit(first_value(body), kind)), type=kind)


def first_value(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """What the body begins with, whatever follows; ValueError when that is no JSON."""
    value, _ = _DECODER.raw_decode(text(body).lstrip(" \t\r\n"))
    return value


def normal(body: bytes) -> bytes:
    """The first value in `body` as JSON that every reader takes; raises one of `MALFORMED`."""
    return _dump(first_value(body))


def as_doubles(value: bytes) -> bytes:
    """A JSON value with its numbers as Go keeps them where it has only doubles; ValueError beyond those."""
    return _TOKEN.sub(_double, value.decode()).encode() if _UNUSUAL.search(value) else value


def _double(token: re.Match[str]) -> str:
    found = token[0]
    if found.startswith('"'):
        return found
    number = float(found)
    if math.isinf(number):
        raise ValueError(f"the number {found} is too large")
    if number and not _PLAIN[0] <= abs(number) < _PLAIN[1]:
        return repr(number)
    return f"{Decimal(repr(number)):f}".removesuffix(".0")


def _dump(value: object) -> bytes:
    return _SURROGATE.sub(_REPLACED, json.dumps(value, ensure_ascii=False)).encode()


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)


def _fit(value: Any, kind: Any) -> Any:  # noqa: ANN401 - JSON of any kind
    """`value` with the names of `kind` and without what `kind` does not know."""
    if get_origin(kind) in (Union, types.UnionType):
        return None if value is None else _fit(value, next(one for one in get_args(kind) if one is not type(None)))
    if get_origin(kind) is list:
        (inner,) = get_args(kind)
        return [] if value is None else [_fit(one, inner) for one in value] if isinstance(value, list) else value
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        is_object = isinstance(value, dict)
        return {} if value is None else {k: _fit(v, inner) for k, v in value.items()} if is_object else value
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {} if value is None else _fit_struct(value, kind) if isinstance(value, dict) else value
    return _ZERO.get(kind) if value is None else value


def _fit_struct(value: Mapping[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    fields = {field.encode_name.lower(): field for field in msgspec.structs.fields(kind)}
    known = ((fields[name.lower()], one) for name, one in value.items() if name.lower() in fields)
    return {field.encode_name: _fit(one, field.type) for field, one in known}
