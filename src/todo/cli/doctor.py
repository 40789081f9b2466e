"""What is wrong with a running system, how that is known, and what to do."""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from todo.cli.session import Kubernetes, complain, print_json, print_rich
from todo.cli.show import plain
from todo.operations import datafolder, doctor
from todo.operations.doctor import CannotLookError, Finding, Report

EXAMPLE: Final = "todo doctor; todo doctor --kubeconfig ~/.kube/config --json"


class Health(IntEnum):
    """The exit code."""

    CLEAN = 0
    FINDINGS = 1
    NOT_SEEN = 2


def register(app: typer.Typer) -> None:
    """Give the app this command."""
    app.command("doctor", epilog=f"Example: {EXAMPLE}")(examine)


def examine(  # noqa: PLR0913 - where to look has this many parts
    ctx: typer.Context,
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", envvar="TODO_DATA", metavar="FOLDER", help="The running system's data folder (./data)."),
    ] = None,
    kubernetes: Kubernetes = False,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", metavar="FILE", help="A cluster; else KUBECONFIG, or the pod's own.")
    ] = None,
    context: Annotated[str | None, typer.Option("--context", metavar="NAME", help="Of the kubeconfig.")] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            envvar="TODO_NAMESPACE",
            metavar="NAME",
            help="On Kubernetes (todo-phasev); given here, it means one.",
        ),
    ] = None,
    watch: Annotated[
        float, typer.Option(min=0, help="Seconds between two looks, if something moves; 0: look once.")
    ] = doctor.WATCH,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Look at everything, change nothing, and say what is wrong, how that is known and what to do.

    Exit code 0: nothing was found, 1: something was, 2: there was nothing to look at.
    """
    source = ctx.get_parameter_source("namespace")
    named = source is not None and source.name == "COMMANDLINE"  # in the environment it says which, not whether
    elsewhere = kubernetes or kubeconfig or context or named
    cluster = doctor.Where(kubeconfig, context, namespace) if elsewhere else None

    async def work() -> Report:
        async with doctor.patient(data or datafolder.default_path(), cluster) as patient:
            return await doctor.examine(patient, watch=watch)

    busy = not as_json and sys.stderr.isatty()
    try:
        with Console(stderr=True).status("looking ...") if busy else nullcontext():
            report = asyncio.run(work())
    except CannotLookError as error:
        complain(str(error))
        raise typer.Exit(Health.NOT_SEEN) from None
    if as_json:
        print_json(_encoded(report))
    else:
        print_rich(_shown(report))
    raise typer.Exit(Health.CLEAN if report.healthy else Health.FINDINGS)


def _encoded(report: Report) -> bytes:
    return msgspec.json.encode({"healthy": report.healthy} | msgspec.to_builtins(report))


def _shown(report: Report) -> RenderableType:
    count = len(report.findings)
    verdict = (
        Text("nothing is wrong with what was looked at", style="green")
        if not count
        else Text(f"{count} finding{'s' if count > 1 else ''}", style="red")
    )
    return Group(
        Text(f"looked at {plain(report.where)}", style="bold"),
        *(line for one in report.findings for line in _lines(one)),
        *_themes("looked at", report.looked_at),
        *_themes("not looked at", report.not_looked_at, "yellow"),
        verdict,
    )


def _lines(finding: Finding) -> list[Text]:
    return [
        Text(""),
        Text.assemble((finding.code.value, "red"), "  ", (plain(finding.what), "bold"), overflow="fold"),
        *(Text(f"    seen: {plain(one)}", overflow="fold") for one in finding.evidence),
        Text(f"    do:   {plain(finding.to_do)}", overflow="fold"),
    ]


def _themes(heading: str, themes: Mapping[str, str], style: str = "dim") -> list[Text]:
    if not themes:
        return []
    listed = [Text(f"  {name}: {plain(told)}", style=style, overflow="fold") for name, told in sorted(themes.items())]
    return [Text(""), Text(f"{heading}:", style=style), *listed]
