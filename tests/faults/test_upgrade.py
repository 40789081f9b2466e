"""A new release comes in under load: its schema first, then its processes one by one, old and new side by side."""

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final, cast

import pytest

from tests.faults.bench import ENVIRON, Bench, bench, due_in, until
from tests.faults.client import Client
from tests.faults.verdicts import Show, conclude
from todo.contracts import names
from todo.messaging.migrations import revisions
from todo.operations.backup.restoring import MIGRATIONS

ROOT: Final = Path(__file__).parents[2]
BEFORE: Final = "8510798"  # the commit that stands for the release before; without its history, this one stands for it
VERSION: Final = "9.9.9"  # of the new release
LANES: Final = 3
PAUSE: Final = 0.2  # seconds between two tasks of a lane: a load, not a flood
REVISION: Final = """
from alembic import op
from todo.messaging.migrations import create_index, execute

revision, down_revision, branch_labels, depends_on = {revision!r}, {before!r}, None, None


def upgrade() -> None:
    {body}
"""
EXPANSION: Final = {
    "backend": (
        'execute(op, ("ALTER TABLE tasks ADD COLUMN colour text",))',
        'create_index(op, "tasks_updated", "tasks (updated_at)")',
    ),
    "notification": (
        'execute(op, ("ALTER TABLE reminders ADD COLUMN rank int NOT NULL DEFAULT 0", "CREATE TABLE more (id int)"))',
        'create_index(op, "reminders_updated", "reminders (updated_at)")',
    ),
}


@pytest.mark.timeout(300)
async def test_an_upgrade_under_load_loses_and_refuses_nothing(tmp_path: Path, show: Show) -> None:
    """Two replicas behind a balancer; whoever is restarted is taken out of it first. Every answer is a 2xx, no
    acknowledged task or reminder is lost, none is mailed twice; old code works on the new schema."""
    old, new = _release_before(tmp_path / "old"), _release_after(tmp_path / "new")
    replicas = {names.BACKEND.app_id: 2, names.NOTIFICATION.app_id: 2}
    apps = [*(app.app_id for app in names.APPS), "migrate-backend", "migrate-notification"]
    options = {"replicas": replicas, "extra_env": {name: {"PYTHONPATH": str(old)} for name in apps}}
    async with bench(tmp_path, **options) as running, Balancer(running).load() as balancer:
        before = {await _version(running, name) for name in balancer.backends}
        await balancer.answers_more()
        await asyncio.gather(*(_migrate(running, app, new) for app in names.APPS if app.schema for _ in range(2)))
        await balancer.answers_more()
        services = [
            name for name in running.system.children if name.startswith(tuple(app.app_id for app in names.APPS))
        ]
        for name in services:
            await balancer.restart(name, new)
            await balancer.answers_more()
        await balancer.end()
        await running.quiet(180)
        assert {await _version(running, name) for name in balancer.backends} == {VERSION}
        assert VERSION not in before
        assert set(running.ledger.answers) == {"200", "201"}
        await conclude(running, "Upgrade", show, excused=(), seen={"restarted": ", ".join(services)})


class Balancer:
    """Sends requests to the replicas of backend in turn, to those that are in; keeps at it until it is told to end."""

    def __init__(self, running: Bench) -> None:
        self._running = running
        self.backends = [name for name in running.system.children if name.startswith(names.BACKEND.app_id)]
        self._in = set(self.backends)
        self._turn = itertools.cycle(self.backends)
        self._busy: Counter[str] = Counter()
        self._ending = asyncio.Event()
        self._made = 0

    @asynccontextmanager
    async def load(self) -> AsyncIterator["Balancer"]:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(LANES):
                lanes.create_task(self._lane())
            try:
                yield self
            finally:
                self._ending.set()

    async def end(self) -> None:
        self._ending.set()
        await until(lambda: not self._busy.total(), 30, "the last answers are there", 0.01)

    async def answers_more(self) -> None:
        """Wait until the load has had some answers more."""
        goal = self._made + 10
        await until(lambda: self._made >= goal, 60, "the load is answered", 0.01)

    async def restart(self, name: str, source: Path) -> None:
        """Take a replica out, let it end what it has in hand, start it on another release, and let it in again."""
        system = self._running.system
        self._in.discard(name)
        await until(lambda: not self._busy[name], 30, f"{name} has answered", 0.01)
        await system.stop(name)
        cast("MutableMapping[str, str]", system.children[name].spec.env)["PYTHONPATH"] = str(source)
        await system.start(name)
        if name in self.backends:
            self._in.add(name)

    async def _lane(self) -> None:
        while not self._ending.is_set():
            with self._one() as client:
                self._made += 1
                task = await client.create(f"task {self._made}", due_in(1))
            with self._one() as client:
                await client.task(task.id)
            await asyncio.sleep(PAUSE)

    @contextmanager
    def _one(self) -> Iterator[Client]:
        name = next(name for name in self._turn if name in self._in)
        self._busy[name] += 1
        try:
            yield Client(self._running.http, self._running.system.addresses[name], self._running.ledger)
        finally:
            self._busy[name] -= 1


def _release_before(place: Path) -> Path:
    """Its source: from the history, or where that is cut off, as it is."""
    archived = subprocess.run(["git", "archive", BEFORE, "src"], cwd=ROOT, capture_output=True, check=False)  # noqa: S607
    if archived.returncode != 0:
        shutil.copytree(ROOT / "src", place / "src")
        return place / "src"
    with tarfile.open(fileobj=BytesIO(archived.stdout)) as tar:
        tar.extractall(place, filter="data")
    return place / "src"


def _release_after(place: Path) -> Path:
    """The source as it is, with a version of its own and more revisions, which do what revisions may do."""
    shutil.copytree(ROOT / "src", place / "src")
    with (place / "src" / "todo" / "__init__.py").open("a") as file:
        file.write(f'\n__version__ = "{VERSION}"\n')
    for schema, bodies in EXPANSION.items():
        folder = MIGRATIONS[schema]
        copied = place / "src" / folder.relative_to(ROOT / "src")
        last = revisions(folder)[-1]
        for number, body in enumerate(bodies, 9001):
            text = REVISION.format(revision=str(number), before=last, body=body)
            (copied / "versions" / f"{number}_expansion.py").write_text(text)
            last = str(number)
    return place / "src"


async def _migrate(running: Bench, app: names.App, source: Path) -> None:
    environ = ENVIRON | {"PYTHONPATH": os.fspath(source), "DATABASE_URL": running.system.database_url}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", app.module, "migrate", env=environ)
    assert await process.wait() == 0


async def _version(running: Bench, backend: str) -> str:
    async with running.http.get(f"{running.system.addresses[backend]}/openapi.json") as response:
        return str((await response.json())["info"]["version"])
