"""Dapr's resource files, checked before Dapr reads them."""

from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from daprlet.checker import Finding, Severity, Surroundings, check, dapr
from daprlet.component_types import catalog
from daprlet.errors import SetupError
from todo.cli.session import Code, print_json, print_rich
from todo.cli.show import plain
from todo.contracts import names

APPS: Final = ",".join(app.app_id for app in names.APPS)
EXAMPLE: Final = (
    "todo components check kubernetes/dapr-components/pubsub-redis.yaml kubernetes/dapr-components/resiliency.yaml"
)
COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow"}

Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH", help="Files and folders that one environment loads together.")
]
Apps = Annotated[str, typer.Option(metavar="ID,ID", help="The app ids there are.")]
Namespace = Annotated[str, typer.Option(metavar="NAME", help="The namespace of the apps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")]


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    components = typer.Typer(help="Dapr's resource files.", no_args_is_help=True)
    components.command("check", epilog=f"Example: {EXAMPLE}")(check_components)
    app.add_typer(components, name="components")


def check_components(
    paths: Paths, *, apps: Apps = APPS, namespace: Namespace = names.NAMESPACE, as_json: AsJson = False
) -> None:
    """Say what Dapr would ignore, misread or not load in resource files, and what would become of events.

    Exit code 1 when there is an error; warnings alone leave it 0.
    """
    known = [app.strip() for app in apps.split(",") if app.strip()]
    surroundings = Surroundings(dapr().with_types_of(catalog()), known, namespace, stores={names.SECRET_STORE})
    try:
        findings = check(paths, surroundings)
    except SetupError as error:
        raise typer.BadParameter(str(error), param_hint="PATH") from error
    errors = sum(one.severity is Severity.ERROR for one in findings)
    if as_json:
        print_json(_encoded(findings, errors))
    else:
        print_rich(_shown(findings, errors))
    raise typer.Exit(Code.NO if errors else Code.OK)


def _encoded(findings: list[Finding], errors: int) -> bytes:
    listed = [
        {
            "severity": one.severity,
            "rule": one.rule,
            "file": str(one.path),
            "line": one.line,
            "resource": one.resource,
            "key": one.key,
            "problem": one.problem,
            "fix": one.fix,
        }
        for one in findings
    ]
    return msgspec.json.encode({"errors": errors, "warnings": len(findings) - errors, "findings": listed})


def _shown(findings: list[Finding], errors: int) -> RenderableType:
    total = f"{errors} errors, {len(findings) - errors} warnings" if findings else "nothing to report"
    return Group(*(line for one in findings for line in _lines(one)), Text(total))


def _lines(finding: Finding) -> list[Text]:
    where = f"{finding.path}:{finding.line}"
    what = "  ".join(plain(part) for part in (finding.resource, finding.key) if part)
    colour = COLOURS[finding.severity]
    return [
        Text.assemble((where, "bold"), "  ", (finding.severity.value, colour), f"  {what}", overflow="fold"),
        Text(f"    {plain(finding.problem)}", overflow="fold"),
        Text(f"    fix: {plain(finding.fix)}", overflow="fold"),
    ]
