"""The topics on a broker: the one in use, one that runs beside it, or any that a component file describes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from todo.cli.session import Code, Kubernetes, complain, guarded, print_json, print_rich
from todo.operations import brokers, topics
from todo.operations.brokers import Broker, BrokerError
from todo.operations.cluster.system import deployed, is_meant
from todo.operations.engine import resources
from todo.operations.engine.resources import ResourceError
from todo.operations.swap import SwapError
from todo.operations.swapping.host import HostTarget
from todo.operations.swapping.kubernetes import KubernetesTarget
from todo.operations.swapping.target import SwapTarget
from todo.operations.topics import Finding, State

SECRETS_NEEDED: Final = "--component needs --secrets: the file with the values of its secretKeyRefs"

T = TypeVar("T")
To = Annotated[
    str | None, typer.Option("--to", metavar="BROKER", help="A broker that runs beside the one in use, as redis.")
]
Component = Annotated[
    Path | None, typer.Option("--component", metavar="FILE", help="Any broker: the component that names it.")
]
Secrets = Annotated[
    Path | None,
    typer.Option(
        "--secrets", metavar="PATH", help='Its secrets: a file {"name": {"KEY": "value"}}, or name/KEY in it.'
    ),
]
Data = Annotated[Path, typer.Option(envvar="TODO_DATA", metavar="FOLDER", help="The running system's data folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Partitions = Annotated[int, typer.Option(min=1, max=1000, help="Of each topic, on Kafka.")]

HERE: Final = Path("data")
DASH: Final = "-"


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    group = typer.Typer(help="Topics, or streams, on the broker.", no_args_is_help=True)
    group.command("list", epilog="Example: todo topics list")(list_topics)
    group.command("create", epilog="Example: todo topics create --component pubsub.yaml --secrets secrets.json")(create)
    group.command("check", epilog="Example: todo topics check --to kafka")(check)
    group.command("trim", epilog="Example: todo topics trim --keep 10000")(trim)
    app.add_typer(group, name="topics")


def list_topics(  # noqa: PLR0913 - which broker has this many parts
    *,
    to: To = None,
    component: Component = None,
    secrets: Secrets = None,
    data: Data = HERE,
    kubernetes: Kubernetes = False,
    as_json: AsJson = False,
) -> None:
    """Show every topic: what was ever published, and what each app has not read."""
    _on_broker(_Which(to, component, secrets, data, kubernetes), topics.states, _states, as_json=as_json)


def create(  # noqa: PLR0913 - which broker has this many parts
    *,
    to: To = None,
    component: Component = None,
    secrets: Secrets = None,
    partitions: Partitions = topics.PARTITIONS,
    data: Data = HERE,
    kubernetes: Kubernetes = False,
    as_json: AsJson = False,
) -> None:
    """Make the topics that are not there; those that are stay as they are."""

    async def work(broker: Broker) -> list[str]:
        return await topics.create(broker, partitions=partitions)

    _on_broker(_Which(to, component, secrets, data, kubernetes), work, _created, as_json=as_json)


def check(  # noqa: PLR0913 - which broker has this many parts
    *,
    to: To = None,
    component: Component = None,
    secrets: Secrets = None,
    partitions: Partitions = topics.PARTITIONS,
    data: Data = HERE,
    kubernetes: Kubernetes = False,
    as_json: AsJson = False,
) -> None:
    """Compare every topic with what this system needs; exit 1 when one is missing or lacks something."""

    async def work(broker: Broker) -> list[Finding]:
        return await topics.check(broker, partitions=partitions)

    def lacks(findings: list[Finding]) -> bool:
        return any(one.lacks for one in findings)

    _on_broker(_Which(to, component, secrets, data, kubernetes), work, _findings, as_json=as_json, is_no=lacks)


def trim(  # noqa: PLR0913 - which broker has this many parts
    *,
    to: To = None,
    component: Component = None,
    secrets: Secrets = None,
    keep: Annotated[int, typer.Option(min=0, help="Newest entries to leave in any case.")] = topics.KEEP,
    data: Data = HERE,
    kubernetes: Kubernetes = False,
    as_json: AsJson = False,
) -> None:
    """Delete on Redis what every app has read; Kafka does it by each topic's retention."""

    async def work(broker: Broker) -> dict[str, int]:
        return await topics.trim(broker, keep=keep)

    _on_broker(_Which(to, component, secrets, data, kubernetes), work, _trimmed, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Which:
    """Which broker is meant."""

    to: str | None
    component: Path | None
    secrets: Path | None
    data: Path
    kubernetes: bool

    def check(self) -> None:
        """Raises `typer.BadParameter`."""
        if self.component is None or (self.secrets is not None and self.to is None):
            return
        wrong = SECRETS_NEEDED if self.to is None else "give --to or --component"
        raise typer.BadParameter(wrong, param_hint="--component")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Broker]:
        if self.component is not None and self.secrets is not None:
            read = resources.read(self.component)
            async with brokers.connected(read, resources.resolved(read, self.secrets)) as broker:
                yield broker
            return
        async with self._target() as target:
            side = await target.side(self.to) if self.to else await target.current()
            async with brokers.connected(side.component, side.metadata) as broker:
                yield broker

    @asynccontextmanager
    async def _target(self) -> AsyncIterator[SwapTarget]:
        if not is_meant(asked=self.kubernetes, data=self.data):
            yield HostTarget(self.data)
            return
        async with deployed() as system:
            yield KubernetesTarget(system, await system.place())


def _on_broker(
    which: _Which,
    work: Callable[[Broker], Awaitable[T]],
    render: Callable[[T], RenderableType],
    *,
    as_json: bool,
    is_no: Callable[[T], bool] = lambda _: False,
) -> None:
    which.check()

    async def run() -> int:
        try:
            async with which.opened() as broker:
                answer = await work(broker)
        except (BrokerError, ResourceError, SwapError) as error:
            complain(str(error))
            return Code.NO
        if as_json:
            print_json(msgspec.json.encode(answer))
        else:
            print_rich(render(answer))
        return Code.NO if is_no(answer) else Code.OK

    raise typer.Exit(guarded(run, as_json=as_json))


def _states(states: list[State]) -> RenderableType:
    table = _table("topic", "partitions", "published", "not read yet")
    for one in states:
        left = ", ".join(f"{app} {lag.total:,}" for app, lag in one.lag.items() if lag.total) or "nothing"
        partitions = DASH if one.topic is None or one.topic.partitions is None else str(one.topic.partitions)
        table.add_row(one.name, partitions, f"{one.published:,}", left)
    return table


def _findings(findings: list[Finding]) -> RenderableType:
    lacking = [one for one in findings if one.lacks]
    if not lacking:
        return Text(f"all {len(findings)} topics are as they should be", style="green")
    table = _table("topic", "what it lacks")
    for one in lacking:
        table.add_row(one.name, Text("; ".join(one.lacks), style="red"))
    return Group(table, Text("missing ones are made by `todo topics create`; others stay as they are", style="red"))


def _created(made: list[str]) -> RenderableType:
    return "\n".join(f"made {name}" for name in made) or "every topic is there already"


def _trimmed(deleted: dict[str, int]) -> RenderableType:
    return "\n".join(f"{name}: {count:,} deleted" for name, count in deleted.items() if count) or "nothing to delete"


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1))
    for heading in headings:
        table.add_column(heading)
    return table
