"""Write the tables behind `todo components check` from the Dapr version that tools/dapr pins.

Component types and their versions come from daprd's registrations, settings from the metadata.yaml of each component,
the shapes of resources from Dapr's CustomResourceDefinitions; all of them lie in Go's module cache once `make engine`
has run. Only facts are taken: names, types, allowed values, what is required.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "tools" / "dapr"
TABLES = ROOT / "daprlet" / "src" / "daprlet" / "checker" / "dapr.json"
DAPR, CONTRIB = "github.com/dapr/dapr", "github.com/dapr/components-contrib"
KINDS = ("components", "subscription", "resiliency", "configuration")
SCHEMA_KEYS = ("type", "required", "enum")
CATEGORIES = {
    "bindings": "bindings",
    "configuration": "configuration",
    "conversation": "conversation",
    "crypto": "crypto",
    "lock": "lock",
    "middleware_http": "middleware.http",
    "nameresolution": "nameresolution",
    "pubsub": "pubsub",
    "secretstores": "secretstores",
    "state": "state",
}
EXAMPLES = """\
examples:
  python tools/components.py           write the tables anew (after a change of the pinned version)
  python tools/components.py --check   exit code 1 when the tables are not those of the pinned version
"""


class TablesError(Exception):
    """Why the tables cannot be made, in words for the person who asked for them."""


def module(path: str) -> dict[str, str]:
    """Return version and folder of a module that tools/dapr needs; Go fetches it if it is not there."""
    go = shutil.which("go")
    if go is None:
        raise TablesError("Go is not installed. Install it from https://go.dev/dl (or your packages) and try again.")
    asked = subprocess.run(  # noqa: S603 - the go on PATH, fixed arguments
        [go, "mod", "download", "-json", path], cwd=MODULE, capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise TablesError(f"go cannot provide {path}:\n  {asked.stderr.strip() or asked.stdout.strip()}")
    found: dict[str, str] = json.loads(asked.stdout)
    return found


def tables() -> dict[str, Any]:
    dapr, contrib = module(DAPR), module(CONTRIB)
    registered = list(types(Path(dapr["Dir"]) / "cmd" / "daprd" / "components"))
    described = dict(sorted(settings(Path(contrib["Dir"]))))
    return {
        "dapr": dapr["Version"],
        "components-contrib": contrib["Version"],
        "types": {name: sorted(versions) for group in registered for name, versions in sorted(group.items())},
        "aliases": dict(sorted(aliases(registered, {name.partition("/")[0] for name in described}))),
        "settings": described,
        "kinds": kinds(Path(dapr["Dir"]) / "charts" / "dapr" / "crds"),
    }


def types(folder: Path) -> Iterator[dict[str, set[str]]]:
    """The types that daprd registers, with their versions, file by file: what one file registers is one component."""
    for path in sorted(folder.glob("*.go")):
        category = next((name for prefix, name in CATEGORIES.items() if path.name.startswith(f"{prefix}_")), None)
        if category is None or path.name.endswith("_test.go"):
            continue
        found: dict[str, set[str]] = defaultdict(set)
        for name, versions in registrations(path.read_text()):
            found[f"{category}.{name}"] |= versions
        yield found


def aliases(registered: Iterable[Mapping[str, set[str]]], described: Container[str]) -> Iterator[tuple[str, str]]:
    """The type under which the settings of another are described."""
    for group in registered:
        names = [name for name in group if name in described]
        if len(names) == 1:
            yield from ((name, names[0]) for name in group if name != names[0])


def registrations(source: str) -> Iterator[tuple[str, set[str]]]:
    for call in re.split(r"\.Register(?=\w+\()", source)[1:]:
        if call.startswith("ComponentWithVersions("):
            name, body = re.match(r'\w+\("([^"]+)",(.*)', call, re.DOTALL).groups()  # type: ignore[union-attr]
            yield name, set(re.findall(r'Version:\s*"(v\d+)"', body))
            continue
        names = re.search(r',\s*((?:"[^"]+"\s*,?\s*)+)\)\s*$', until_closed(call))
        for name in re.findall(r'"([^"]+)"', names[1] if names else ""):
            yield name, {"v1"}


def until_closed(call: str) -> str:
    """The call up to the bracket that closes its arguments."""
    depth = 0
    for at, letter in enumerate(call):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and depth == 0:
            return call[: at + 1]
    return call


def settings(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """By `type/version`: fields, and which of them an authentication profile requires."""
    for path in sorted(folder.rglob("metadata.yaml")):
        read = yaml.safe_load(path.read_text().replace("\t", " "))
        profiles = [*(read.get("authenticationProfiles") or ()), *(read.get("builtinAuthenticationProfiles") or ())]
        own = read.get("metadata") or []
        category = CATEGORIES.get(f"{read['type']}_http", read["type"])
        yield (
            f"{category}.{read['name']}/{read['version']}",
            {
                "fields": fields(own, [entry for profile in profiles for entry in profile.get("metadata") or ()]),
                "profiles": [one for profile in profiles if (one := required_by(profile))],
                "builtin": sorted(one["name"] for one in read.get("builtinAuthenticationProfiles") or ()),
            },
        )


def fields(own: Iterable[Mapping[str, Any]], of_profiles: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What a setting is. Only what stands outside the profiles is required whatever the others say."""
    found: dict[str, dict[str, Any]] = {}
    for entry in of_profiles:
        kept = found.setdefault(entry["name"], field(entry))
        if "allowed" in kept:
            kept["allowed"] = sorted({*kept["allowed"], *map(str, entry.get("allowedValues") or ())})
    for entry in own:
        found[entry["name"]] = field(entry) | ({"required": True} if entry.get("required") else {})
    return dict(sorted(found.items()))


def field(entry: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {"type": entry.get("type") or "string"}
    if entry.get("allowedValues"):
        kept["allowed"] = sorted(map(str, entry["allowedValues"]))
    return kept | {key: True for key in ("sensitive", "deprecated") if entry.get(key)}


def required_by(profile: Mapping[str, Any]) -> dict[str, Any] | None:
    """`{"if": {setting: value}, "required": [...]}` for a profile that a setting with one allowed value selects."""
    entries = profile.get("metadata") or []
    selector = {
        entry["name"]: str(entry["allowedValues"][0]) for entry in entries if len(entry.get("allowedValues") or ()) == 1
    }
    required = sorted(entry["name"] for entry in entries if entry.get("required") and entry["name"] not in selector)
    return {"if": selector, "required": required} if selector and required else None


def kinds(folder: Path) -> dict[str, dict[str, Any]]:
    """The schema of each kind, by apiVersion."""
    found: dict[str, dict[str, Any]] = {}
    for name in KINDS:
        definition = yaml.safe_load((folder / f"{name}.yaml").read_text())["spec"]
        found[definition["names"]["kind"]] = {
            f"{definition['group']}/{version['name']}": pruned(version["schema"]["openAPIV3Schema"])
            for version in definition["versions"]
        }
    return found


def pruned(schema: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: schema[key] for key in SCHEMA_KEYS if key in schema}
    if "properties" in schema:
        kept["properties"] = {name: pruned(one) for name, one in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            kept[key] = pruned(schema[key])
    return kept


def written(found: Mapping[str, Any]) -> str:
    """JSON with one component a line, so that a new version of Dapr can be read as a diff."""
    parts = []
    for key, value in found.items():
        if not isinstance(value, dict):
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
            continue
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in value.items())
        parts.append(f"{json.dumps(key)}: {{\n{lines}\n}}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tools/components.py",
        description="Write the tables behind `todo components check` from the pinned version of Dapr.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    return parser.parse_args(arguments)


def main() -> int:
    checking = parse().check
    try:
        text = written(tables())
    except TablesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if checking and text != TABLES.read_text():
        print(f"error: {TABLES} is not what the pinned Dapr says: run `python tools/components.py`", file=sys.stderr)
        return 1
    if not checking:
        TABLES.parent.mkdir(parents=True, exist_ok=True)
        TABLES.write_text(text)
        print(f"wrote {TABLES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
