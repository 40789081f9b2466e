"""What every command that asks the system shares: where it is, how answers are shown, what the exit code means.

0: done; 1: the answer is no; 2: the command line is wrong; 3: the system is not reachable.
"""

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Concatenate, Final, ParamSpec, TypeVar
from uuid import UUID

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from todo.dapr.errors import DaprError
from todo.operations import client
from todo.operations.client import Answer, Api, ClearTextError, Mailbox, NoAnswerError, RefusedError, UnreachableError
from todo.operations.cluster import ClusterError
from todo.operations.cluster.system import deployed, is_meant
from todo.operations.find import Place, find

WIDTH: Final = 200  # columns of what goes to a file or another program

P = ParamSpec("P")
T = TypeVar("T")


class Code(IntEnum):
    OK = 0
    NO = 1
    USAGE = 2
    UNREACHABLE = 3


class NoError(Exception):
    """The answer is no; the message says why."""


@dataclass(frozen=True, slots=True)
class Session:
    """One run of one command."""

    place: Place
    api: Api
    mailbox: Mailbox | None
    user: int | None  # None: the caller, whoever that is
    as_json: bool

    def show(self, answer: Answer[T], render: Callable[[T], RenderableType]) -> None:
        """Print an answer: for programs exactly as it came, for people as `render` says."""
        if self.as_json:
            print_json(answer.body)
        else:
            print_rich(render(answer.value))

    def progress(self, doing: str) -> AbstractContextManager[object]:
        """Say what takes a while, to a person at a terminal."""
        if self.as_json or not sys.stderr.isatty():
            return nullcontext()
        return Console(stderr=True).status(doing)

    async def places(self, list_: str | None, parent: str | None) -> dict[str, Any]:
        """`list_id` and `parent_id` as the API takes them, of what was given; `none` is null."""
        found: dict[str, Any] = {}
        if list_ is not None:
            found["list_id"] = None if list_ == "none" else (await self.task_list(list_)).id
        if parent is not None:
            found["parent_id"] = None if parent == "none" else await self.task_id(parent)
        return found

    async def task_list(self, text: str) -> client.TaskList:
        """The list a person means: by its name, whatever its case, by its id or the beginning of that."""
        known = (await self.api.lists(self.user)).value.lists
        named = [one for one in known if one.name.casefold() == text.casefold()]
        prefix = text.lower().replace("-", "")
        found = named or [one for one in known if prefix and one.id.hex.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        raise NoError(f"{'no list is' if not found else 'several lists are'} meant by {text!r}: see `todo lists list`")

    async def task_id(self, text: str, status: str = "all") -> UUID:
        """The id a person means: whole, or its beginning if that fits one task of the user."""
        try:
            return UUID(text)
        except ValueError:
            prefix = text.lower().replace("-", "")
        if not prefix or set(prefix) - set("0123456789abcdef"):
            raise typer.BadParameter(f"{text!r} is not a task id: give it, or its beginning, as `todo list` shows it")
        found = [task async for task in self.api.all_tasks(self.user, status=status) if task.id.hex.startswith(prefix)]
        if len(found) == 1:
            return found[0].id
        if not found:
            whose = "you have" if self.user is None else f"user {self.user} has"
            raise NoError(f"{whose} no task whose id begins with {text}")
        some = ", ".join(str(task.id)[: len(text) + 4] for task in found[:5])
        raise NoError(f"{len(found)} tasks begin with {text} ({some}): give more of it")


Command = Callable[Concatenate[Session, P], Awaitable[int | None]]

_JSON: Final = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
_API: Final = Annotated[
    str | None,
    typer.Option("--api", envvar="TODO_API", metavar="URL", help="Where the API is; else the running system's."),
]
_DATA: Final = Annotated[
    Path | None,
    typer.Option("--data", envvar="TODO_DATA", metavar="FOLDER", help="The running system's data folder (./data)."),
]
Kubernetes = Annotated[
    bool,
    typer.Option(
        "--kubernetes",
        help="The system on Kubernetes (KUBECONFIG; TODO_NAMESPACE, else todo-phasev). Understood in a pod of it.",
    ),
]
_USER: Final = Annotated[
    int | None,
    typer.Option(
        "--user", envvar="TODO_USER", metavar="ID", help="Whose tasks: yours; under TODO_AUTH=local user 1's."
    ),
]


def command(
    app: typer.Typer, name: str, *, example: str, with_user: bool = False
) -> Callable[[Command[P]], Command[P]]:
    """Make a command of a coroutine function: its own parameters, and those that every command has."""

    def register(function: Command[P]) -> Command[P]:
        shared: dict[str, tuple[object, object]] = {
            "api": (_API, None),
            "data": (_DATA, None),
            "kubernetes": (Kubernetes, False),
            "as_json": (_JSON, False),
        }
        if with_user:
            shared["user"] = (_USER, None)

        def entry(**given: Any) -> None:  # noqa: ANN401 - what the command line said
            common = {key: given.pop(key) for key in shared}
            raise typer.Exit(_run(function, given, **common))

        own = list(inspect.signature(function).parameters.values())[1:]
        named = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        added = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for key, (annotation, default) in shared.items()
        ]
        entry.__signature__ = inspect.Signature([*named, *added])  # type: ignore[attr-defined]  # what Typer reads
        entry.__annotations__ = {one.name: one.annotation for one in (*named, *added)}
        entry.__doc__ = function.__doc__
        app.command(name, epilog=f"Example: {example}")(entry)
        return function

    return register


def print_json(body: bytes) -> None:
    sys.stdout.write(body.decode(errors="replace") + "\n")


def print_rich(what: RenderableType) -> None:
    width = None if sys.stdout.isatty() else WIDTH
    Console(highlight=False, markup=False, width=width).print(what, soft_wrap=isinstance(what, str | Text))


def complain(message: str) -> None:
    """One error, to the error stream."""
    sys.stderr.write(f"error: {message}\n")


def guarded(work: Callable[[], Awaitable[int | None]], *, as_json: bool = False) -> int:
    """Run a command to its exit code; what went wrong is told in a line or two, never as a stack trace."""

    async def run() -> int:
        return await work() or Code.OK

    try:
        return asyncio.run(run())
    except RefusedError as error:
        _complain_of(error, as_json=as_json)
        return Code.NO
    except (NoError, ClearTextError) as error:
        complain(str(error))
        return Code.NO
    except UnreachableError as error:
        complain(f"no system at {error.url} ({error.reason}): start one with `todo up`, or name another with --api")
        return Code.UNREACHABLE
    except ClusterError as error:
        complain(str(error))
        return Code.UNREACHABLE
    except (NoAnswerError, DaprError) as error:
        complain(f"{error}: start the system with `todo up`, or name its data folder with --data")
        return Code.UNREACHABLE


def _run(  # noqa: PLR0913 - what every command has
    function: Callable[..., Awaitable[int | None]],
    given: dict[str, Any],
    *,
    api: str | None,
    data: Path | None,
    kubernetes: bool,
    as_json: bool,
    user: int | None = None,
) -> int:
    async def work() -> int | None:
        meant = is_meant(asked=kubernetes, data=data, api=api)
        async with _located(api, data, user, kubernetes=meant) as place, client.session() as http:
            mailbox = Mailbox(http, place.mailbox) if place.mailbox else None
            session = Session(place, Api(http, place.api, place.api_token), mailbox, user, as_json)
            return await function(session, **given)

    return guarded(work, as_json=as_json)


@asynccontextmanager
async def _located(api: str | None, data: Path | None, user: int | None, *, kubernetes: bool) -> AsyncIterator[Place]:
    if not kubernetes:
        yield find(api, data)
        return
    from todo.operations.cluster.visit import visited  # noqa: PLC0415 - slower to import than all the rest

    async with deployed() as system, visited(system, user_id=user) as place:
        yield place


def _complain_of(refused: RefusedError, *, as_json: bool) -> None:
    if as_json:
        sys.stderr.write(refused.body.decode(errors="replace") + "\n")
        return
    problem = refused.problem
    if not problem.errors:
        complain(problem.detail or problem.title)
    for fault in problem.errors:
        complain(f"{fault.field}: {fault.problem}\n  fix: {fault.fix}")
