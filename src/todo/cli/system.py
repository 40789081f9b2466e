"""The whole system: run it, and see it do its work."""

import asyncio
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from todo.cli.session import Code, complain, guarded, print_json, print_rich

LAST_PORT: Final = 65_535
MOST_REPLICAS: Final = 100

Ports = Annotated[
    list[str] | None,
    typer.Option("--port", metavar="NAME=NUMBER", help="Another port, as backend=8100; again for more."),
]
Replicas = Annotated[
    list[str] | None, typer.Option("--replicas", metavar="APP=N", help="Processes of a service, as email-delivery=3.")
]


Standby = Annotated[
    list[str] | None,
    typer.Option("--standby", metavar="BROKER", help="With dapr: start this broker too, for a swap; again for more."),
]


class EngineName(StrEnum):
    DAPRLET = "daprlet"
    DAPR = "dapr"


class LogFormat(StrEnum):
    PRETTY = "pretty"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    app.command("up", epilog="Example: todo up --engine dapr --broker redis --standby kafka")(up)
    app.command("demo", epilog="Example: todo demo")(demo)


def up(  # noqa: PLR0913 - how to run has this many parts
    *,
    data: Annotated[Path, typer.Option(envvar="TODO_DATA", help="Where everything is kept.")] = Path("data"),
    engine: Annotated[
        EngineName, typer.Option(help="The embedded sidecar, or stock Dapr with a broker (needs `make engine`).")
    ] = EngineName.DAPRLET,
    broker: Annotated[
        str | None,
        typer.Option(
            metavar="BROKER|FILE",
            help="With dapr: kafka, kafka-sasl, kafka-sasl-512, redis, or a component file for one of your own. "
            "Default: where the data folder is, else kafka.",
        ),
    ] = None,
    standby: Standby = None,
    port: Ports = None,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Take any free ports.")] = False,
    replicas: Replicas = None,
    chaos: Annotated[
        int | None, typer.Option(metavar="SEED", help="Duplicate, reorder, delay and fail deliveries, reproducibly.")
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="For people, or JSON lines.")] = LogFormat.PRETTY,
) -> None:
    """Run the whole system here until Ctrl-C: database, sidecars, services, mailbox."""
    from todo.operations import up as running  # noqa: PLC0415 - slower to import than all the rest

    if engine is EngineName.DAPRLET and (broker or standby):
        raise typer.BadParameter("daprlet is its own broker: add --engine dapr", param_hint="--broker, --standby")
    if engine is EngineName.DAPR and chaos is not None:
        raise typer.BadParameter("only daprlet can be hostile: leave --engine out", param_hint="--chaos")
    options = running.UpOptions(
        data=data,
        engine=engine.value,
        broker=broker,
        standby=standby or (),
        ports=_numbers("--port", port, LAST_PORT),
        free_ports=free_ports,
        replicas=_numbers("--replicas", replicas, MOST_REPLICAS),
        chaos=chaos,
        log_format=log_format.value,
    )
    raise typer.Exit(asyncio.run(running.up(options)))


def demo(*, as_json: Annotated[bool, typer.Option("--json", help="Print the story as JSON.")] = False) -> None:
    """See it work: a system of its own, three tasks, their mails, a next occurrence, and a check of everything."""
    from todo.cli import story  # noqa: PLC0415 - slower to import than all the rest
    from todo.operations import up as running  # noqa: PLC0415
    from todo.operations.demo import demonstrate  # noqa: PLC0415

    async def work() -> int:
        try:
            told = await demonstrate(lambda line: None if as_json else print_rich(line))
        except running.FAILURES as error:
            complain(str(error))
            return Code.NO
        if as_json:
            print_json(told.encoded())
        else:
            print_rich(story.tell(told))
        return Code.OK if told.complete else Code.NO

    raise typer.Exit(guarded(work, as_json=as_json))


def _numbers(option: str, given: list[str] | None, most: int) -> dict[str, int]:
    """NAME=NUMBER pairs. Raises `typer.BadParameter`."""
    numbers = {}
    for pair in given or ():
        name, _, number = pair.partition("=")
        if not (name and re.fullmatch("[0-9]{1,5}", number) and 0 < int(number) <= most):
            raise typer.BadParameter(f"{pair!r} is not NAME=NUMBER, from 1 to {most}", param_hint=option)
        numbers[name] = int(number)
    return numbers
