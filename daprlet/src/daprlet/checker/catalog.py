"""Which component types there are and which settings each has: Dapr's, from generated tables, or a host's own."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, Final

import msgspec

from daprlet.checker.corrections import ADDED, CHANGED, COMMON, COMPLETE, STRANGERS, Change, Stranger
from daprlet.durations import go_duration

_YES_OR_NO: Final = frozenset(("true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "1", "0"))


@dataclass(frozen=True, slots=True)
class Setting:
    """One metadata entry of a component type.

    `allowed` is empty when anything goes; `exact` means that Dapr looks for the name as it is written here and for no
    other case. `consequence` says what Dapr does with a value it does not know. `parse` is a host's own reading.
    """

    name: str
    type: str = "string"
    allowed: tuple[str, ...] = ()
    required: bool = False
    sensitive: bool = False
    exact: bool = False
    any_case: bool = False
    consequence: str = "daprd ends when it starts"
    fix: str = ""
    parse: Callable[[str], object] | None = None

    def problem(self, text: str) -> str | None:
        """What is wrong with a value, or None."""
        if self.parse is not None:
            return _refused(self.parse, text)
        if self.allowed and text not in self.allowed:
            folded = {one.lower() for one in self.allowed}
            return None if self.any_case and text.lower() in folded else f"{text!r} is not one of its values"
        return _TYPES[self.type](text)


@dataclass(frozen=True, slots=True)
class Requirement:
    """Settings that must be there (with `one_of`, any of them) when others have the values of `when`."""

    when: Mapping[str, str]
    settings: tuple[str, ...]
    one_of: bool = False


@dataclass(frozen=True, slots=True)
class ComponentType:
    """A type in one version. `complete` tells that every setting is known, so that any other is a mistake."""

    name: str
    settings: Mapping[str, Setting]  # by name in lower case, other names of the same setting included
    requirements: tuple[Requirement, ...] = ()
    complete: bool = True
    strangers: Mapping[str, Stranger] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return sorted({setting.name for setting in self.settings.values()})

    def find(self, name: str) -> Setting | None:
        return self.settings.get(name.lower())


@dataclass(frozen=True, slots=True)
class Catalog:
    """The types of one host. `versions` lists them all; of some, nothing but the name is known."""

    host: str
    refusal: str  # what the host does with a type or version it does not have
    versions: Mapping[str, tuple[str, ...]]
    kinds: Mapping[str, Mapping[str, Any]]
    described: Mapping[tuple[str, str], ComponentType]

    def find(self, name: str, version: str) -> ComponentType | None:
        return self.described.get((name, version))

    def with_types_of(self, other: "Catalog") -> "Catalog":
        """The catalog with those types of another that are not in it."""
        more = {name: versions for name, versions in other.versions.items() if name not in self.versions}
        described = {key: one for key, one in other.described.items() if key[0] in more}
        return replace(self, versions={**self.versions, **more}, described={**self.described, **described})


def of_host(
    host: str,
    types: Mapping[str, Mapping[str, Callable[[str], object]]],
    *,
    required: Mapping[str, str],
    other_names: Mapping[str, Mapping[str, str]],
    kinds: Mapping[str, Iterable[str]],
) -> Catalog:
    """The catalog of a host that reads each value by a function of its own; all types have version v1."""
    described = {}
    for name, settings in types.items():
        known = {
            one.lower(): Setting(one, parse=parse, required=required.get(name) == one)
            for one, parse in settings.items()
        }
        aliases = {alias.lower(): known[one.lower()] for alias, one in other_names.get(name, {}).items()}
        described[name, "v1"] = ComponentType(name, known | aliases)
    schemas = {kind: {version: dapr().kinds[kind][version] for version in versions} for kind, versions in kinds.items()}
    return Catalog(host, "it does not start", dict.fromkeys(types, ("v1",)), schemas, described)


@cache
def dapr() -> Catalog:
    """What the pinned Dapr knows: its own tables with the corrections to them."""
    tables = msgspec.json.decode(files("daprlet.checker").joinpath("dapr.json").read_bytes())
    versions = {name: tuple(known) for name, known in tables["types"].items()}
    described = {}
    for name, known in versions.items():
        for version in known:
            table = tables["settings"].get(f"{tables['aliases'].get(name, name)}/{version}")
            if table is not None:
                described[name, version] = _described(name, tables["aliases"].get(name, name), table)
    host = f"Dapr {tables['dapr'].removeprefix('v')}"
    return Catalog(host, "daprd ends when it starts", versions, tables["kinds"], described)


def _described(name: str, original: str, table: Mapping[str, Any]) -> ComponentType:
    settings = {one: _setting(one, facts) for one, facts in table["fields"].items()}
    added = {**COMMON.get(name.partition(".")[0], {}), **ADDED.get(original, {})}
    settings |= {one: Setting(one, kind) for one, kind in added.items() if one not in settings}
    for change in CHANGED:
        if change.type == original and change.setting in settings:
            settings[change.setting] = _changed(settings[change.setting], change)
    by_name = {one.lower(): setting for one, setting in settings.items()}
    for change in CHANGED:
        if change.type == original and change.setting in settings:
            by_name |= {alias.lower(): settings[change.setting] for alias in change.other_names}
    return ComponentType(
        name,
        by_name,
        tuple(_requirements(original, table)),
        complete=original in COMPLETE,
        strangers=STRANGERS.get(original, {}),
    )


def _setting(name: str, facts: Mapping[str, Any]) -> Setting:
    return Setting(
        name,
        facts["type"],
        tuple(facts.get("allowed", ())),
        required=facts.get("required", False),
        sensitive=facts.get("sensitive", False),
    )


def _changed(setting: Setting, change: Change) -> Setting:
    return replace(
        setting,
        type=change.kind or setting.type,
        allowed=change.allowed or setting.allowed,
        exact=change.exact,
        any_case=change.any_case,
        consequence=change.consequence or setting.consequence,
        fix=change.fix or setting.fix,
    )


def _requirements(original: str, table: Mapping[str, Any]) -> Iterable[Requirement]:
    for profile in table["profiles"]:
        yield Requirement(profile["if"], tuple(profile["required"]))
    if original == "state.postgresql":
        yield Requirement({}, ("connectionString", "host", "hostaddr"), one_of=True)


def _refused(parse: Callable[[str], object], text: str) -> str | None:
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None


def _number(text: str) -> str | None:
    return None if _refused(int, text) is None else f"{text!r} is not a whole number"


def _truth(text: str) -> str | None:
    return None if text.lower() in _YES_OR_NO else f"{text!r} is neither true nor false"


def _duration(text: str) -> str | None:
    return None if _refused(int, text) is None else _refused(go_duration, text.removeprefix("-"))


def _milliseconds(text: str) -> str | None:
    return None if text.isdecimal() else f"{text!r} is not a bare number of milliseconds"


def _anything(_: str) -> str | None:
    return None


_TYPES: Final[Mapping[str, Callable[[str], str | None]]] = {
    "string": _anything,
    "bytesize": _anything,
    "number": _number,
    "bool": _truth,
    "duration": _duration,
    "milliseconds": _milliseconds,
}
