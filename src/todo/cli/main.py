"""The `todo` command."""

import os
import sys
from typing import Annotated

import typer

import todo
from todo.cli import (
    backup,
    components,
    doctor,
    operators,
    organise,
    porting,
    quick,
    rotate,
    secrets,
    swap,
    system,
    tasks,
    tokens,
    topics,
    views,
)

app = typer.Typer(
    help="Tasks, reminders and recurring tasks, and the system behind them.",
    epilog="Exit codes: 0 done, 1 the answer is no, 2 wrong command line, 3 the system is not reachable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:  # noqa: FBT001 - Typer calls it
    if asked:
        sys.stdout.write(f"todo {todo.__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    del version


system.register(app)
tasks.register(app)
porting.register(app)
quick.register(app)
organise.register(app)
views.register(app)
operators.register(app)
tokens.register(app)
rotate.register(app)
swap.register(app)
topics.register(app)
components.register(app)
doctor.register(app)
backup.register(app)
secrets.register(app)


def main() -> None:
    """Run the command line; a reader that went away ends it quietly."""
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
