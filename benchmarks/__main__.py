"""`make bench`: every workload once, one table. Nothing is asserted but that no work was lost: machines differ."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks import api, batch, drain, effect, footprint, mail, publish, scan, sidecar, surge
from benchmarks.measure import Row, Target, fdatasync_ms
from benchmarks.stage import Stage, mailbox_stage, smtp_stage

Alone = Callable[[float], Awaitable[Sequence[Row]]]
Staged = Callable[[Stage], Awaitable[Sequence[Row]]]

ALONE: Final[dict[str, Alone]] = {"footprint": footprint.run, "sidecar": sidecar.run}
# In this order: what needs an idle system first, the million rows last.
ON_MAILBOX: Final[dict[str, Staged]] = {
    "effect": effect.run,
    "mail": mail.run,
    "publish": publish.run,
    "drain": drain.run,
    "api": api.run,
    "surge": surge.run,
    "scan": scan.run,
}
ON_SMTP: Final[dict[str, Staged]] = {"batch": batch.run}
SHOWN: Final = ("publish", "batch", "effect", "mail", "drain", "sidecar", "surge", "scan", "api", "footprint")
WIDTH: Final = 160  # columns where there is no terminal
BUSY: Final = 1.0  # load average from which on the figures say more about others than about us


def main() -> None:
    options = _options()
    met = machine()
    results = uvloop.run(_measure(set(options.only or SHOWN), options.scale))
    found = [(name, row) for name in SHOWN for row in results.get(name, ())]
    if options.json:
        print(msgspec.json.encode(_report(met, found)).decode())
    else:
        _show(met, found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=SHOWN, help="one workload; again for more")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply sizes, as 0.1 for a quick look (default 1)")
    return parser.parse_args()


async def _measure(wanted: set[str], scale: float) -> dict[str, Sequence[Row]]:
    results: dict[str, Sequence[Row]] = {}
    for name in wanted & ALONE.keys():
        with _told(name):
            results[name] = await ALONE[name](scale)
    for workloads, open_stage in ((ON_SMTP, smtp_stage), (ON_MAILBOX, mailbox_stage)):
        results |= await on_stage(open_stage(scale), {key: one for key, one in workloads.items() if key in wanted})
    return results


async def on_stage(
    opening: AbstractAsyncContextManager[Stage], workloads: Mapping[str, Staged], setup: str = ""
) -> dict[str, Sequence[Row]]:
    """Run workloads one after the other on one stage."""
    results: dict[str, Sequence[Row]] = {}
    if workloads:
        async with opening as stage:
            for name, workload in workloads.items():
                with _told(f"{setup} {name}".strip()):
                    await stage.quiet()
                    results[name] = await workload(stage)
    return results


@contextmanager
def _told(name: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    yield
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


def machine() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="todo-") as folder:
        synced = fdatasync_ms(Path(folder))
    load = os.getloadavg()[0]
    python = ".".join(map(str, sys.version_info[:3]))
    return {"cpus": os.cpu_count(), "python": python, "load": round(load, 2), "fdatasync_p50_ms": round(synced, 3)}


def _report(machine: dict[str, Any], found: Sequence[tuple[str, Row]]) -> dict[str, Any]:
    rows = [
        {"workload": name, "what": row.what, "unit": row.unit, "numbers": row.numbers, "also": row.also}
        | {"targets": [{"target": str(one), "guide": one.guide, "met": one.met(row.numbers)} for one in row.targets]}
        for name, row in found
    ]
    return {"machine": machine | {"busy": machine["load"] > BUSY}, "rows": rows}


def _show(machine: dict[str, Any], found: Sequence[tuple[str, Row]]) -> None:
    table = Table(title=title(machine), title_justify="left", caption_justify="left", caption=_missed(found))
    for heading in ("measured", "result", "target", ""):
        table.add_column(heading)
    for _, row in found:
        for target in (one for one in row.targets if one.guide):
            table.add_row(f"guide: {row.what}", row.shown, str(target), verdict(target, row))
    table.add_section()
    for _, row in found:
        own = [one for one in row.targets if not one.guide]
        verdicts = Text("\n").join(verdict(one, row) for one in own)
        table.add_row(row.what, row.shown, "\n".join(map(str, own)), verdicts)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def title(machine: dict[str, Any]) -> str:
    busy = "; THE MACHINE WAS BUSY WITH OTHER WORK: times are too long" if machine["load"] > BUSY else ""
    return (
        f"{machine['cpus']} CPUs, Python {machine['python']}, load before {machine['load']},"
        f" fdatasync p50 {machine['fdatasync_p50_ms']} ms{busy}"
    )


def verdict(target: Target, row: Row) -> Text:
    return Text("met", "green") if target.met(row.numbers) else Text("MISSED", "bold red")


def _missed(found: Sequence[tuple[str, Row]]) -> str:
    missed = [f"{row.what}: {one}" for _, row in found for one in row.targets if not one.met(row.numbers)]
    return "Missed: " + "; ".join(missed) if missed else "Every target was met."


if __name__ == "__main__":
    main()
