"""Strict reading of YAML into msgspec structs: an unknown key is an error that names the nearest known one."""

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

from daprlet.checker.words import nearest
from daprlet.errors import SetupError

T = TypeVar("T", bound=msgspec.Struct)


def documents(path: Path) -> list[Any]:
    """The non-empty YAML documents of a file."""
    try:
        with path.open(encoding="utf-8") as file:
            return [one for one in yaml.load_all(file, Loader=_loader()) if one is not None]
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SetupError(f"{path}: {error}") from error


def _loader() -> type:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(where: str, data: object, kind: type[T]) -> T:
    """`data` as a `kind`; raises `SetupError` naming file, key and, for a wrong key, the nearest right one."""
    _check_keys(where, data, kind, ())
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise SetupError(f"{where}: {error}".replace("`$.", "`").replace("`$`", "the top level")) from error


def _check_keys(where: str, data: object, kind: Any, path: tuple[str, ...]) -> None:  # noqa: ANN401 - a type form
    if get_origin(kind) in (Union, types.UnionType):
        for member in get_args(kind):
            if (isinstance(data, dict) and _is_mapping(member)) or (isinstance(data, list) and _is_list(member)):
                _check_keys(where, data, member, path)
    elif isinstance(data, list) and _is_list(kind):
        for index, item in enumerate(data):
            _check_keys(where, item, get_args(kind)[0], (*path, f"[{index}]"))
    elif isinstance(data, dict) and get_origin(kind) is dict:
        for name, value in data.items():
            _check_keys(where, value, get_args(kind)[1], (*path, str(name)))
    elif isinstance(data, dict) and _is_struct(kind):
        _check_struct(where, data, kind, path)


def _check_struct(where: str, data: Mapping[Any, Any], kind: Any, path: tuple[str, ...]) -> None:  # noqa: ANN401 - the same
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for name, value in data.items():
        if name not in fields:
            at = ".".join((*path, str(name))).replace(".[", "[")
            raise SetupError(f"{where}: unknown key {at!r}; {nearest(str(name), fields)}")
        _check_keys(where, value, fields[name], (*path, str(name)))


def _is_struct(kind: Any) -> bool:  # noqa: ANN401 - the same
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _is_mapping(kind: Any) -> bool:  # noqa: ANN401 - the same
    return _is_struct(kind) or get_origin(kind) is dict


def _is_list(kind: Any) -> bool:  # noqa: ANN401 - the same
    return get_origin(kind) in (list, tuple)
