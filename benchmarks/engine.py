"""`make bench-engine`: the same workloads on daprlet, on stock Dapr with Kafka, and on stock Dapr with Valkey.

Each through the services, and beside bare subscribers behind the same sidecars. Nothing is asserted but that no work
was lost: machines differ.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks import batch, drain, effect, publish, through
from benchmarks.__main__ import WIDTH, Staged, machine, on_stage, title, verdict
from benchmarks.measure import Row
from benchmarks.stage import mailbox_stage, smtp_stage

SETUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "daprlet": {},
    "daprd + Kafka": {"engine": "dapr", "broker": "kafka"},
    "daprd + Valkey": {"engine": "dapr", "broker": "redis"},
}
ON_MAILBOX: Final[Mapping[str, Staged]] = {
    "effect": effect.run,
    "publish": publish.run,
    "alone": publish.one_by_one,
    "drain": drain.run,
    "through": through.run,
}
ON_SMTP: Final[Mapping[str, Staged]] = {"batch": batch.run}

Found = dict[str, dict[str, Row]]  # by what was measured, then by setup


def main() -> None:
    options = _options()
    met = machine()
    found = uvloop.run(
        _measure(options.setup or list(SETUPS), set(options.only or (*ON_MAILBOX, *ON_SMTP)), options.scale)
    )
    if options.json:
        print(msgspec.json.encode(_report(met, found)).decode())
    else:
        _show(met, found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--setup", action="append", choices=SETUPS, help="one setup; again for more")
    parser.add_argument("--only", action="append", choices=(*ON_MAILBOX, *ON_SMTP), help="one workload; again for more")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply sizes, as 0.1 for a quick look (default 1)")
    return parser.parse_args()


async def _measure(setups: Sequence[str], wanted: set[str], scale: float) -> Found:
    found: Found = {}
    for setup in setups:
        for workloads, stage in ((ON_SMTP, smtp_stage), (ON_MAILBOX, mailbox_stage)):
            chosen = {name: one for name, one in workloads.items() if name in wanted}
            results = await on_stage(stage(scale, **SETUPS[setup]), chosen, setup)
            for rows in results.values():
                for row in rows:
                    found.setdefault(row.what, {})[setup] = row
    return found


def _report(met: dict[str, Any], found: Found) -> dict[str, Any]:
    rows = [
        {"what": what, "setup": setup, "unit": row.unit, "numbers": row.numbers, "also": row.also}
        | {"targets": [{"target": str(one), "met": one.met(row.numbers)} for one in row.targets]}
        for what, by_setup in found.items()
        for setup, row in by_setup.items()
    ]
    return {"machine": met, "rows": rows}


def _show(met: dict[str, Any], found: Found) -> None:
    table = Table(title=title(met), title_justify="left", show_lines=True)
    setups = list(dict.fromkeys(setup for by_setup in found.values() for setup in by_setup))
    for heading in ("measured", *setups):
        table.add_column(heading)
    for what, by_setup in found.items():
        table.add_row(what, *(_cell(by_setup[setup]) if setup in by_setup else "" for setup in setups))
    Console(width=WIDTH).print(table)


def _cell(row: Row) -> Text:
    verdicts = [Text.assemble(f"{target}: ", verdict(target, row)) for target in row.targets]
    return Text("\n").join([Text(row.shown), *verdicts])


if __name__ == "__main__":
    main()
