"""A rotation cut short anywhere leaves a working system and goes on; what is still used is never retired."""

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from todo.contracts.clock import utc_now
from todo.operations import logins
from todo.operations.postgres import PostgresServer
from todo.operations.rotation import steps as rotation_steps
from todo.operations.rotation.authority import RotationError, Secret
from todo.operations.rotation.database import DSN, DatabaseLogins
from todo.operations.rotation.exclusive import alone
from todo.operations.rotation.journal import FILE, VERIFIED, Entry, FileJournal
from todo.operations.rotation.place import Secrets
from todo.operations.rotation.reloading import loads_of
from todo.operations.rotation.steps import Rotation, Wish

NAME = "broker-secrets"
FIRST = {"USER": "app", "PASSWORD": "first"}
OURS = Wish()


class KilledError(BaseException):
    """The process is gone: no `except Exception` sees it."""


class World:
    """Secrets, sidecars and a broker in memory, and a death at the n-th thing that is done to them."""

    settles = 0.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stored: Secrets = {NAME: dict(FIRST)}
        self.used: Mapping[str, str] = FIRST
        self.let_in = {"app": "first"}
        self.saved = dict(self.let_in)  # whom it lets in when it is started anew
        self.follows = True
        self.connected: list[str] = []
        self.said: list[Entry] = []
        self.died = False
        self._left: float = float("inf")
        self._numbers = itertools.count(1)

    def die_at(self, step: float) -> None:
        self._left = step

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            self.died = True
            raise KilledError

    def rotation(self) -> Rotation:
        return Rotation(NAME, "component.yaml", self, self, DyingJournal(self.folder, self._step), self.said.append)

    def check_used(self) -> None:
        """Whatever was cut short, what the sidecars use is let in."""
        assert self.let_in.get(self.used["USER"]) == self.used["PASSWORD"]

    # the place
    async def secrets(self) -> Secrets:
        return {name: dict(secret) for name, secret in self.stored.items()}

    async def put(self, changes: Mapping[str, Secret | None]) -> None:
        self._step()
        merged = {**self.stored, **changes}
        self.stored = {name: dict(secret) for name, secret in merged.items() if secret is not None}
        self._step()

    async def reload(self, component: str, why: str) -> str:
        assert (component, why) == ("component.yaml", f"a new login in {NAME}")
        self._step()
        if not self.follows:
            raise RotationError("a sidecar did not follow")
        self.used = self.stored[NAME]
        self.check_used()
        self._step()
        return ""

    # the authority
    def login(self, secret: Secret) -> str:
        return secret["USER"]

    def fresh(self, secret: Secret, version: int) -> Secret:
        return {**secret, "USER": f"app-{version}", "PASSWORD": f"hush{next(self._numbers)}"}

    def given(self, secret: Secret, username: str, password: str) -> Secret:
        return {**secret, "USER": username, "PASSWORD": password}

    def beside(self, kept: Secret, current: Secret) -> Secret:
        return {**current, "USER": kept["USER"], "PASSWORD": kept["PASSWORD"]}

    async def may_create(self, by: Secret) -> None:
        await self.check(by)

    async def create(self, secret: Secret, *, by: Secret) -> None:
        await self.check(by)
        self._step()
        self.let_in[secret["USER"]] = secret["PASSWORD"]
        self._step()
        self.saved = dict(self.let_in)

    async def check(self, secret: Secret) -> None:
        if await self.is_refused(secret):
            raise RotationError(f"{secret['USER']} is refused")

    async def is_refused(self, secret: Secret) -> bool:
        return self.let_in.get(secret["USER"]) != secret["PASSWORD"]

    async def users(self, secret: Secret, *, by: Secret) -> list[str]:
        await self.check(by)
        return [one for one in self.connected if secret["USER"] in one]

    async def remove(self, secret: Secret, *, by: Secret) -> None:
        await self.check(by)
        self._step()
        self.let_in.pop(secret["USER"], None)
        self._step()
        self.saved = dict(self.let_in)


class DyingJournal(FileJournal):
    def __init__(self, data: Path, step: Callable[[], None]) -> None:
        super().__init__(data, utc_now)
        self._step = step

    async def add(self, secret: str, version: int, step: str, *, login: str = "", detail: str = "") -> Entry:
        self._step()
        entry = await super().add(secret, version, step, login=login, detail=detail)
        self._step()
        return entry


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation_steps, "SETTLES", 0.05)
    monkeypatch.setattr(rotation_steps, "LINGERS", 0.05)
    monkeypatch.setattr(rotation_steps, "POLL", 0.01)


async def go_on(world: World) -> None:
    """What a person does after a death: call again, and if there was nothing to go on with, begin."""
    try:
        await world.rotation().rotate(None)
    except RotationError as error:
        if "nothing was cut short" not in str(error):
            raise
        if not world.stored.get(NAME + ".previous"):
            await world.rotation().rotate(OURS)


def deaths(
    tmp_path: Path, act: Callable[[World], Awaitable[None]], prepare: Callable[[World], Awaitable[None]]
) -> Iterator[World]:
    """A world for each point at which `act` can die, until it does not die any more."""
    for step in range(100):
        folder = tmp_path / str(step)
        folder.mkdir()
        world = World(folder)
        asyncio.run(_die(world, act, prepare, step))
        yield world
        if not world.died:
            return
    pytest.fail("it never ends")


async def _die(
    world: World, act: Callable[[World], Awaitable[None]], prepare: Callable[[World], Awaitable[None]], step: int
) -> None:
    await prepare(world)
    world.die_at(step)
    with suppress(KilledError):
        await act(world)


async def nothing(world: World) -> None:
    del world


def rotate(world: World) -> Awaitable[None]:
    return world.rotation().rotate(OURS)


def test_a_rotation_that_dies_anywhere_leaves_a_working_system_and_goes_on(tmp_path: Path) -> None:
    seen = 0
    for world in deaths(tmp_path, rotate, nothing):
        seen += 1
        world.die_at(float("inf"))
        world.check_used()
        if world.died:
            asyncio.run(go_on(world))
        assert world.used == world.stored[NAME]
        assert world.used != FIRST
        assert world.let_in == {"app": "first", world.used["USER"]: world.used["PASSWORD"]}
        asyncio.run(world.rotation().retire())
        assert world.let_in == {world.used["USER"]: world.used["PASSWORD"]}
        assert set(world.stored) == {NAME}
    assert seen > 10


def test_a_return_that_dies_anywhere_goes_on_and_the_other_login_can_be_retired(tmp_path: Path) -> None:
    for world in deaths(tmp_path, lambda world: world.rotation().back(), rotate):
        world.die_at(float("inf"))
        world.check_used()
        if world.stored[NAME].get("VERSION") != "2" and not asyncio.run(world.rotation().status()).verified:
            asyncio.run(world.rotation().rotate(None))
        if world.stored[NAME].get("VERSION") == "2":  # it died before it did anything
            if not asyncio.run(world.rotation().status()).verified:
                asyncio.run(world.rotation().rotate(None))
            asyncio.run(world.rotation().back())
        assert world.used["USER"] == "app"
        asyncio.run(world.rotation().retire())
        assert world.let_in == {"app": "first"}


def test_a_retirement_that_dies_anywhere_is_done_by_the_next(tmp_path: Path) -> None:
    for world in deaths(tmp_path, lambda world: world.rotation().retire(), rotate):
        world.die_at(float("inf"))
        world.check_used()
        with suppress(RotationError):  # nothing is left to do
            asyncio.run(world.rotation().retire())
        assert set(world.let_in) == set(world.saved) == {"app-2"}
        assert set(world.stored) == {NAME}
        assert asyncio.run(world.rotation().status()).history[-1].step == "retired"


async def _returned(world: World) -> None:
    await rotate(world)
    await world.rotation().back()


def test_a_retirement_of_a_login_of_ours_that_dies_anywhere_is_done_by_the_next(tmp_path: Path) -> None:
    for world in deaths(tmp_path, lambda world: world.rotation().retire(), _returned):
        world.die_at(float("inf"))
        with suppress(RotationError):  # nothing is left to do
            asyncio.run(world.rotation().retire())
        assert set(world.let_in) == set(world.saved) == {"app"}
        assert asyncio.run(world.rotation().status()).history[-1].step == "retired"


async def test_a_login_of_ours_that_is_refused_is_removed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may have forgotten it and remember it when it is started anew."""
    world = World(tmp_path)
    await _returned(world)
    del world.let_in["app-2"]

    async def fails(secret: Secret, *, by: Secret) -> None:
        del secret, by
        raise RotationError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(world, "remove", fails)
        with pytest.raises(RotationError, match="not now"):
            await world.rotation().retire()
    await world.rotation().retire()
    assert set(world.saved) == {"app"}


async def _cut_short(world: World) -> None:
    world.die_at(4)  # put aside, and not yet let in
    with suppress(KilledError):
        await rotate(world)
    world.died = False


def test_giving_up_a_login_that_dies_anywhere_is_noted_by_the_next(tmp_path: Path) -> None:
    for world in deaths(tmp_path, lambda world: world.rotation().back(), _cut_short):
        world.die_at(float("inf"))
        with suppress(RotationError):  # nothing is left to do
            asyncio.run(world.rotation().back())
        assert set(world.let_in) == set(world.saved) == {"app"}
        assert set(world.stored) == {NAME}
        assert asyncio.run(world.rotation().status()).history[-1].step == "withdrawn"


async def test_a_login_that_is_refused_and_that_we_never_touched_is_left_alone(tmp_path: Path) -> None:
    """Its name may be somebody's else by now."""
    world = World(tmp_path)
    await rotate(world)
    world.let_in["app"] = "theirs now"
    await world.rotation().retire()
    assert world.let_in["app"] == "theirs now"


async def test_a_sidecar_that_does_not_follow_keeps_the_old_login_from_being_retired(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.follows = False
    with pytest.raises(RotationError, match="did not follow"):
        await rotate(world)
    with pytest.raises(RotationError, match="not seen in use everywhere"):
        await world.rotation().retire()
    assert not (await world.rotation().status()).verified
    world.follows = True
    await world.rotation().rotate(None)
    await world.rotation().retire()
    assert set(world.let_in) == {"app-2"}


async def test_who_still_uses_the_old_login_is_named_and_keeps_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    await rotate(world)
    world.connected = ["report as app"]
    with pytest.raises(RotationError, match="app is still used by report as app"):
        await world.rotation().retire()
    assert set(world.let_in) == {"app", "app-2"}


async def test_a_given_login_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.die_at(0)  # whatever is done would be noticed
    with pytest.raises(RotationError, match="app-x is refused"):
        await world.rotation().rotate(Wish("app-x", "wrong"))
    assert world.stored == {NAME: FIRST}
    assert not (tmp_path / FILE).exists()


async def test_a_given_login_is_neither_made_nor_removed_when_it_is_given_up(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.let_in["theirs"] = "hush"
    world.die_at(4)  # noted and put aside, not yet in use
    with pytest.raises(KilledError):
        await world.rotation().rotate(Wish("theirs", "hush"))
    world.die_at(float("inf"))
    assert NAME + ".next" in world.stored
    await world.rotation().back()
    assert world.let_in == {"app": "first", "theirs": "hush"}
    assert set(world.stored) == {NAME}


async def test_what_was_cut_short_is_ended_before_another_begins(tmp_path: Path) -> None:
    """Else a login that nobody knows any more would stay let in."""
    world = World(tmp_path)
    world.die_at(6)  # let in, and not noted yet
    with pytest.raises(KilledError):
        await rotate(world)
    world.die_at(float("inf"))
    assert set(world.let_in) == {"app", "app-2"}
    with pytest.raises(RotationError, match="version 2 was cut short"):
        await rotate(world)
    await world.rotation().back()
    assert world.let_in == {"app": "first"}
    await rotate(world)
    assert world.used["USER"] == "app-3"


async def test_a_login_that_was_refused_behind_our_back_can_be_replaced(tmp_path: Path) -> None:
    """A provider took the leaked one away at once; a new one from there is taken all the same."""
    world = World(tmp_path)
    world.let_in = {"theirs": "hush"}
    with pytest.raises(RotationError, match="app is refused"):
        await rotate(world)
    await world.rotation().rotate(Wish("theirs", "hush"))
    assert world.used["USER"] == "theirs"
    await world.rotation().retire()
    assert set(world.stored) == {NAME}


async def test_a_login_that_we_may_not_remove_is_removed_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    await rotate(world)

    async def may_not(secret: Secret, *, by: Secret) -> None:
        del secret, by
        raise RotationError("no rights")

    monkeypatch.setattr(world, "remove", may_not)
    with pytest.raises(RotationError, match=r"no rights\. If app was made elsewhere, remove it there"):
        await world.rotation().retire()
    del world.let_in["app"]
    await world.rotation().retire()
    assert set(world.stored) == {NAME}


async def test_a_plan_checks_and_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.die_at(0)
    assert "app-2" in " ".join(await world.rotation().check(OURS))
    with pytest.raises(RotationError, match="refused"):
        await world.rotation().check(Wish("app-x", "wrong"))
    with pytest.raises(RotationError, match="nothing was cut short"):
        await world.rotation().check(None)
    assert world.stored == {NAME: FIRST}


async def test_two_logins_are_let_in_at_once_and_no_third(tmp_path: Path) -> None:
    world = World(tmp_path)
    await rotate(world)
    with pytest.raises(RotationError, match=r"version 1 \(app\) is still let in"):
        await rotate(world)
    await world.rotation().retire()
    await rotate(world)
    assert (await world.rotation().status()).current.version == 3


async def test_a_broker_that_has_moved_is_asked_where_it_is_now(tmp_path: Path) -> None:
    """Its address stands in the same secret as its login, and a login that was put aside knows the address of then."""
    world = World(tmp_path)
    world.stored[NAME]["ADDRESS"] = "then"
    await rotate(world)
    world.stored[NAME]["ADDRESS"] = "now"
    await world.rotation().back()
    assert world.stored[NAME] == {**FIRST, "ADDRESS": "now", "VERSION": "1"}


async def test_the_journal_says_who_and_when_and_never_a_password(tmp_path: Path) -> None:
    world = World(tmp_path)
    await rotate(world)
    await world.rotation().retire()
    text = (tmp_path / FILE).read_text()
    assert not re.search("hush|first", text)
    steps = [(one.version, one.step) for one in world.said]
    assert steps[-2:] == [(1, "retiring"), (1, "retired")]
    assert steps[:-2] == [(2, "begun"), (2, "created"), (2, "checked"), (2, "switching"), (2, "verified")]
    assert (await world.rotation().status()).history == world.said
    assert all("@" in one.who and one.at.tzinfo for one in world.said)


async def test_a_line_of_the_journal_cut_short_harms_no_other(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    await journal.add(NAME, 2, VERIFIED)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"at":"2031-')
    await journal.add(NAME, 3, VERIFIED)
    assert [one.version for one in await journal.entries(NAME)] == [2, 3]
    assert await journal.verified(NAME) == 3


def test_only_one_changes_what_the_sidecars_use(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(RotationError, match="under way"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def metrics(count: int, started: float = 1795563852.49) -> str:
    other = 'dapr_runtime_component_init_total{app_id="a",component="state.postgresql"} 9'
    mine = f'dapr_runtime_component_init_total{{app_id="a",component="pubsub.kafka"}} {count}'
    return f"{other}\n{mine}\nprocess_start_time_seconds {started:.9e}\n"


@pytest.mark.parametrize(
    ("after", "uses_it"),
    [
        (metrics(1), False),
        (metrics(2), True),
        (metrics(1, 1795563860), True),  # another process, which has read everything anew
        (metrics(0, 1795563860), False),  # on its way up
    ],
)
def test_a_sidecar_tells_by_its_counts_what_it_uses(after: str, uses_it: bool) -> None:
    before, now = loads_of(metrics(1), "pubsub.kafka"), loads_of(after, "pubsub.kafka")
    assert before is not None
    assert now is not None
    assert now.is_after(before) is uses_it


async def test_the_database_names_who_is_still_logged_in_and_refuses_who_is_retired(tmp_path: Path) -> None:
    """Against a real server: the role in use, the other one made ready, a straggler, the end."""
    async with PostgresServer(tmp_path / "pg", durable=False) as server:
        authority = DatabaseLogins(server.dsn)
        old = {DSN: server.login_dsn(tmp_path / "dsn")}
        await authority.create(old, by=old)
        await authority.may_create(old)
        new = authority.fresh(old, 2)
        assert (authority.login(old), authority.login(new)) == ("todo_a", "todo_b")
        assert await authority.is_refused(new)
        await authority.create(new, by=old)
        await authority.check(new)
        straggler = await asyncpg.connect(old[DSN], server_settings={"application_name": "report"})
        assert await authority.users(old, by=new) == ["report"]
        await straggler.close()
        reader = DatabaseLogins(server.dsn, tmp_path / "dsn")
        assert await reader.users(old, by=new) == [str(tmp_path / "dsn")], "a mounted file that has not changed yet"
        (tmp_path / "dsn").write_text(new[DSN])
        assert await reader.users(old, by=new) == []
        (tmp_path / "dsn").unlink()
        with pytest.raises(RotationError, match="dsn cannot be read"):
            await reader.users(old, by=new)
        await authority.remove(old, by=new)
        assert await authority.is_refused(old)


async def test_a_role_that_may_not_use_the_tables_is_no_login_for_the_system(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path / "pg", durable=False) as server:
        authority = DatabaseLogins(server.dsn)
        old = {DSN: server.login_dsn(tmp_path / "dsn")}
        await authority.create(old, by=old)
        await logins.value(old[DSN], "CREATE SCHEMA backend")
        await logins.value(old[DSN], "CREATE TABLE backend.tasks ()")
        await authority.check(old)
        await logins.value(server.dsn, "ALTER TABLE backend.tasks OWNER TO todo")
        with pytest.raises(RotationError, match=r"todo_a may not change table backend\.tasks"):
            await authority.check(old)
        with pytest.raises(RotationError, match="one password per role"):
            authority.given(old, "todo_a", "x")
        with pytest.raises(RotationError, match="none of the two roles"):
            authority.fresh({DSN: logins.Login("theirs", "x").dsn(server.dsn)}, 2)
