"""Secrets for an environment on Kubernetes."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import yaml

from todo.cli.session import Code, complain, print_json
from todo.contracts import names
from todo.operations import secrets
from todo.operations.secrets import SecretsError

For = Annotated[str, typer.Option("--for", metavar="OVERLAY", help=f"One of {', '.join(secrets.KEYS)}.")]
Values = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Lines of KEY=value for what is not to be made up; - reads standard input."),
]
CaCert = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The broker's private authority (PEM), for KAFKA_CA_CERT.")
]
Namespace = Annotated[str, typer.Option(metavar="NAME", help="Where they belong.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a List as JSON, which kubectl takes as well.")]


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    group = typer.Typer(help="Secrets for Kubernetes.", no_args_is_help=True)
    group.command("generate", epilog="Example: todo secrets generate --for redis | kubectl apply -f -")(generate)
    app.add_typer(group, name="secrets")


def generate(
    *,
    overlay: For,
    values: Values = None,
    ca_cert: CaCert = None,
    namespace: Namespace = names.NAMESPACE,
    as_json: AsJson = False,
) -> None:
    """Print the manifests of the Secrets that an overlay expects, with random tokens and passwords.

    For the first deployment: applied again, they would lock out what runs. Later `todo rotate` exchanges logins.
    """
    if overlay not in secrets.KEYS:
        raise typer.BadParameter(f"{overlay!r} is no overlay: use {', '.join(secrets.KEYS)}", param_hint="--for")
    try:
        manifests = secrets.generate(overlay, _given(values, ca_cert), namespace)
    except SecretsError as error:
        for line in str(error).splitlines():
            complain(line)
        raise typer.Exit(Code.NO) from error
    if as_json:
        print_json(msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": manifests}))
    else:
        sys.stdout.write(yaml.safe_dump_all(manifests, sort_keys=False, allow_unicode=True))


def _given(values: str | None, ca_cert: Path | None) -> dict[str, str]:
    found = secrets.read_values(_text(values, "--values").splitlines()) if values else {}
    if ca_cert is not None:
        found["KAFKA_CA_CERT"] = _text(str(ca_cert), "--ca-cert")
    return found


def _text(file: str, option: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}", param_hint=option) from error
