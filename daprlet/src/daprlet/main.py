"""The `daprlet` command."""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from daprlet import VERSION, logs, runfile
from daprlet.commands import Command
from daprlet.durations import go_duration
from daprlet.errors import SetupError
from daprlet.host import Host
from daprlet.settings import AppSettings, HealthCheck, RunSettings

_log = logging.getLogger("daprlet")

_WRONG: Final = 2  # exit code: what was asked for cannot run
_SWITCH_INTERVAL: Final = 0.0005

_EXAMPLES: Final = """examples:
  daprlet run -f dapr.yaml
      host every app of a Dapr run file in one process
  daprlet run --app-id shop --app-port 8000 --dapr-http-port 3500 --resources-path ./resources -- python -m shop
      one app and its sidecar; ends when the app does
"""


def main(arguments: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    logs.configure(options.log_level, options.log_format)
    sys.setswitchinterval(_SWITCH_INTERVAL)  # the writer thread must not wait 5 ms for its turn between two commits
    try:
        settings = _settings(options)
        host = Host(settings)
        sys.exit(_run(_serve(host, settings)))
    except SetupError as error:
        print(f"daprlet: {error}", file=sys.stderr)  # noqa: T201 - the answer to whoever started it
        sys.exit(_WRONG)


def _run(work: Coroutine[Any, Any, int]) -> int:
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop  # noqa: PLC0415 - does not exist on Windows

    return uvloop.run(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="daprlet",
        description="Dapr's sidecar API for the apps of one machine, in one process, without a broker.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"daprlet {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="command")
    run = commands.add_parser(
        "run",
        help="host one app by flags, or all apps of a run file",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_run_options(run)
    _add_app_options(run.add_argument_group("one app"))
    return parser


def _add_run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("-f", "--run-file", type=Path, metavar="FILE", help="Dapr's run file, dapr.yaml")
    run.add_argument("--data-path", type=Path, default=Path(".daprlet"), metavar="DIR", help="default: .daprlet")
    run.add_argument("--listen-address", default="127.0.0.1", metavar="HOST", help="default: 127.0.0.1")
    run.add_argument("--log-level", choices=logs.LEVELS, default="info")
    run.add_argument("--log-format", choices=("json", "pretty"), default="pretty" if sys.stderr.isatty() else "json")
    run.add_argument(
        "--graceful-shutdown-seconds",
        "--dapr-graceful-shutdown-seconds",
        type=float,
        default=5.0,
        metavar="S",
        help="how long deliveries under way may take to end (default: 5)",
    )
    run.add_argument(
        "--chaos", type=int, metavar="SEED", help="duplicate, reorder, delay and fail deliveries on purpose"
    )


def _add_app_options(app: argparse._ArgumentGroup) -> None:
    app.add_argument("--app-id", metavar="ID")
    app.add_argument("--app-port", type=int, default=0, metavar="PORT")
    app.add_argument("--app-channel-address", default="127.0.0.1", metavar="HOST")
    app.add_argument("--app-max-concurrency", type=int, default=0, metavar="N")
    app.add_argument("--dapr-http-port", type=int, default=3500, metavar="PORT", help="0: any free one (default: 3500)")
    app.add_argument("--metrics-port", type=int, default=0, metavar="PORT", help="0: none (default)")
    app.add_argument("--resources-path", type=Path, action="append", default=[], metavar="DIR", help="repeatable")
    app.add_argument("--config", type=Path, metavar="FILE", help="a Configuration resource")
    app.add_argument("--enable-app-health-check", action="store_true")
    app.add_argument("--app-health-check-path", default="/healthz", metavar="PATH")
    app.add_argument("--app-health-probe-interval", type=_seconds, default=5.0, metavar="S")
    app.add_argument("--app-health-probe-timeout", type=_milliseconds, default=0.5, metavar="MS")
    app.add_argument("--app-health-threshold", type=int, default=3, metavar="N")
    app.add_argument("command", nargs="*", metavar="-- command", help="the app to start beside its sidecar")


def _seconds(text: str) -> float:
    return float(text) if text.replace(".", "", 1).isdecimal() else go_duration(text)


def _milliseconds(text: str) -> float:
    return float(text) / 1000 if text.replace(".", "", 1).isdecimal() else go_duration(text)


def _settings(options: argparse.Namespace) -> RunSettings:
    if (options.run_file is None) == (options.app_id is None):
        raise SetupError("either -f FILE or --app-id ID is needed (see daprlet run --help)")
    return RunSettings(
        apps=runfile.load(options.run_file) if options.run_file else [_one_app(options)],
        data_path=options.data_path,
        listen_address=options.listen_address,
        graceful_seconds=options.graceful_shutdown_seconds,
        chaos_seed=options.chaos,
    )


def _one_app(options: argparse.Namespace) -> AppSettings:
    check = HealthCheck(
        path="/" + options.app_health_check_path.lstrip("/"),
        interval=options.app_health_probe_interval,
        timeout=options.app_health_probe_timeout,
        threshold=options.app_health_threshold,
    )
    return AppSettings(
        app_id=options.app_id,
        app_port=options.app_port,
        app_host=options.app_channel_address,
        dapr_http_port=options.dapr_http_port,
        metrics_port=options.metrics_port,
        resources=options.resources_path,
        configuration=options.config,
        health_check=check if options.enable_app_health_check else None,
        max_concurrency=options.app_max_concurrency,
        command=options.command,
        api_token=os.environ.get("DAPR_API_TOKEN", ""),
        app_token=os.environ.get("APP_API_TOKEN", ""),
    )


async def _serve(host: Host, settings: RunSettings) -> int:
    """Run until a signal, a shutdown request or the end of a command; 0 unless a command failed by itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(number, host.finished.set)
    await host.start()
    gc.freeze()
    commands = [Command(app, port) for app, port in zip(settings.apps, host.ports, strict=True) if app.command]
    code = 0
    try:
        for command in commands:
            await command.start()
        code = await _first_end(host, commands)
    finally:
        host.drain()
        await asyncio.gather(*(command.stop() for command in commands))
        await host.stop()
    return code


async def _first_end(host: Host, commands: Sequence[Command]) -> int:
    finished = asyncio.create_task(host.finished.wait())
    exits = [asyncio.create_task(command.wait()) for command in commands]
    await asyncio.wait([finished, *exits], return_when=asyncio.FIRST_COMPLETED)
    code = next((task.result() for task in exits if task.done()), 0)
    for task in (finished, *exits):
        task.cancel()
    return code if code >= 0 else 128 - code
