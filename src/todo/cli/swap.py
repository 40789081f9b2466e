"""Another broker behind the running system."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from todo.cli.session import Code, Kubernetes, complain, guarded, print_json, print_rich
from todo.operations import swap as swapping
from todo.operations.cluster.system import is_meant
from todo.operations.swap import Report, SwapError, Wish
from todo.operations.swapping.figures import Figures

DONT_KNOW: Final = "-"
ROWS: Final = (
    ("tasks", "tasks"),
    ("events on the broker", "events"),
    ("events in the outboxes", "waiting"),
    ("events not read yet", "unread"),
    ("mails", "mails"),
    ("event_publish_duration p50, ms", "publish_p50"),
    ("event_publish_duration p95, ms", "publish_p95"),
    ("one event to the broker, ms", "probe_published"),
    ("one event to its service, ms", "probe_arrived"),
)


def register(app: typer.Typer) -> None:
    """Give the app this command."""
    app.command("swap", epilog="Example: todo swap --to redis")(swap)


def swap(  # noqa: PLR0913 - each is one thing a person may want
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="BROKER", help="kafka, kafka-sasl, kafka-sasl-512, redis, FILE (on Kubernetes - reads one)."
        ),
    ],
    *,
    without_draining: Annotated[
        bool, typer.Option("--without-draining", help="Switch at once; what nobody read is left and healed later.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that reading what was published may take.")] = 120.0,
    measure: Annotated[float, typer.Option(min=0, help="Seconds that each of the two measurements takes.")] = 2.0,
    wait: Annotated[float, typer.Option(min=0, help="Seconds that verify gives what is under way.")] = 60.0,
    data: Annotated[
        Path, typer.Option(envvar="TODO_DATA", metavar="FOLDER", help="The running system's data folder.")
    ] = Path("data"),
    kubernetes: Kubernetes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Move the running system to another broker: measure, pause, drain, switch, resume, verify, measure again.

    The API answers all the while. If a step fails, the system goes back to where it was.
    """
    wish = Wish(to=to, drain=not without_draining, seconds=timeout, window=measure, settle=wait, tell=_tell)

    async def work() -> int:
        try:
            if is_meant(asked=kubernetes, data=data):
                report = await swapping.swap_kubernetes(wish, os.environ)
            else:
                report = await swapping.swap_host(data, wish)
        except SwapError as error:
            complain(str(error))
            return Code.NO
        if as_json:
            print_json(msgspec.json.encode(report))
        else:
            print_rich(_shown(report))
        return Code.OK if report.agree else Code.NO

    raise typer.Exit(guarded(work, as_json=as_json))


def _tell(step: str, detail: str) -> None:
    sys.stderr.write(f"{step:8} {detail}\n")
    sys.stderr.flush()


def _shown(report: Report) -> RenderableType:
    if not report.moved:
        return Text(f"it is on {report.to} already: nothing to do")
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1))
    table.add_column("")
    columns = {f"before, on {report.origin}": report.before, "drained": report.during, f"on {report.to}": report.after}
    shown = {heading: figures for heading, figures in columns.items() if figures is not None}
    for heading in shown:
        table.add_column(heading, justify="right")
    for name, key in ROWS:
        table.add_row(name, *(_number(figures, key) for figures in shown.values()))
    return Group(table, "", *(Text(line, style=style) for line, style in _verdict(report)))


def _number(figures: Figures, key: str) -> str:
    value = getattr(figures, key)
    if value is None:
        return DONT_KNOW
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _verdict(report: Report) -> list[tuple[str, str]]:
    lines = []
    if report.pause_seconds is not None:
        lines.append((f"publishing was paused for {report.pause_seconds:.1f} s; the API answered meanwhile", ""))
    if report.restarted:
        lines.append((f"did not follow by themselves and were restarted: {', '.join(report.restarted)}", "yellow"))
    if report.left_behind is None:
        lines.append((f"what was left on {report.origin} is not known: it does not answer", "yellow"))
    elif report.left_behind:
        healing = "reconciliation heals that within five minutes: `todo verify --wait 300` shows when"
        probes = f" (at most {report.probes_left} of them probes of this swap)" if report.probes_left else ""
        lines.append((f"{report.left_behind} events were left on {report.origin}, unread{probes}: {healing}", "yellow"))
    else:
        lines.append((f"nothing was left on {report.origin}", "green"))
    if report.agree:
        return [*lines, ("everything agrees", "green")]
    lines.append((f"{len(report.findings)} disagreements, as `todo verify` shows them:", "red"))
    return [*lines, *((f"  {one.kind} {one.subject}: {one.detail}", "red") for one in report.findings[:20])]
