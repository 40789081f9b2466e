"""The steps of a rotation. What was done is told by the secrets themselves and the journal, so each call goes on."""

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from todo.operations.rotation import journal as steps
from todo.operations.rotation.authority import Authority, RotationError, Secret
from todo.operations.rotation.journal import Entry, Journal
from todo.operations.rotation.place import NEXT, PREVIOUS, Place

VERSION: Final = "VERSION"  # a key beside the login's
SETTLES: Final = 30.0  # seconds for a broker's nodes to learn of a change, and for connections to end
LINGERS: Final = 3.0  # seconds that a connection by a login long replaced may still be seen
POLL: Final = 0.2
MADE: Final = "a login of ours"
GIVEN: Final = "a login that was given"
NOTHING_TO_GO_ON: Final = "nothing was cut short: say --generate, or --username for a login that was made elsewhere"

Tell = Callable[[Entry], None]


class Wish(msgspec.Struct, frozen=True):
    """A new login: made up here, or, with a user name, made elsewhere. The password is not shown by `repr`."""

    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Wish({self.username!r})"


class Login(msgspec.Struct, frozen=True):
    """One version of a secret, without its secret part."""

    version: int
    login: str
    since: dt.datetime | None = None


class Status(msgspec.Struct, frozen=True):
    """What a secret holds now. `verified`: everyone was seen to use it."""

    secret: str
    current: Login
    verified: bool
    previous: Login | None  # still let in
    unfinished: Login | None  # made, and used by nobody
    history: list[Entry]


class Rotation:
    """Rotates one secret at one place. `component` is the file of the component that takes its login from it."""

    def __init__(  # noqa: PLR0913 - these are its parts
        self, secret: str, component: str, place: Place, authority: Authority, journal: Journal, tell: Tell
    ) -> None:
        self._name = secret
        self._component = component
        self._place = place
        self._authority = authority
        self._journal = journal
        self._tell = tell

    async def status(self) -> Status:
        history = list(await self._journal.entries(self._name))
        current = await self._current()
        return Status(
            self._name,
            self._told(current, history),
            verified=await self._is_verified(current),
            previous=self._told(previous, history) if (previous := await self._kept(PREVIOUS)) else None,
            unfinished=self._told(unfinished, history) if (unfinished := await self._kept(NEXT)) else None,
            history=history,
        )

    async def check(self, wish: Wish | None) -> list[str]:
        """Check everything that a rotation needs and change nothing; returns what would be done, in words."""
        current = await self._current()
        fresh = await self._kept(NEXT) if wish is None else await self._chosen(wish, current)
        if fresh is None:
            raise RotationError(NOTHING_TO_GO_ON)
        made = await self._is_ours(fresh) if wish is None else not wish.username
        if made:
            await self._authority.may_create(current)
        return [
            f"let {self._authority.login(fresh)} in, with a new password" if made else "make no login",
            f"put {self._authority.login(fresh)} into secret {self._name} as version {_version(fresh)}",
            f"have every sidecar load {self._component} anew, and see that each has",
            f"leave {self._authority.login(current)} let in, for --back, until --retire",
        ]

    async def rotate(self, wish: Wish | None) -> None:
        """Move everyone to a new login, or, without a wish, go on where a rotation was cut short."""
        current, unfinished = await self._current(), await self._kept(NEXT)
        if wish is not None:
            unfinished = await self._chosen(wish, current)
            await self._note(unfinished, steps.BEGUN, GIVEN if wish.username else MADE)
            await self._place.put({self._name + NEXT: unfinished})
        if unfinished is not None:
            await self._switch(current, unfinished)
        elif await self._is_verified(current):
            raise RotationError(NOTHING_TO_GO_ON)
        else:
            await self._follow(current)

    async def back(self) -> None:
        """Return to the login before, which is still let in; or give up one that nobody uses yet."""
        current = await self._current()
        previous, unfinished = await self._kept(PREVIOUS), await self._kept(NEXT)
        if unfinished is not None:
            if await self._is_ours(unfinished):
                await self._authority.remove(unfinished, by=current)
            # Before it is done, as below: what is put away is known to nobody who comes after.
            await self._note(unfinished, steps.WITHDRAWN)
            await self._place.put({self._name + NEXT: None})
            return
        if previous is None:
            raise RotationError("there is no login to go back to: the one before was retired, or there was none")
        await self._authority.check(previous)
        await self._note(previous, steps.BACK)
        await self._place.put({self._name: previous, self._name + PREVIOUS: current})
        await self._follow(previous)

    async def retire(self) -> None:
        """Refuse the login before from now on. Raises `RotationError` while something may still use it."""
        current, previous = await self._current(), await self._kept(PREVIOUS)
        if previous is None:
            raise RotationError("there is no login to retire: none was replaced, or it was retired already")
        if not await self._is_verified(current):
            raise RotationError(
                f"version {_version(current)} was not seen in use everywhere: call this without --retire, which goes on"
            )
        await self._authority.check(current)
        if not await self._authority.is_refused(previous):
            await self._must_be_unused(previous, current, LINGERS)
            await self._note(previous, steps.RETIRING)
            await self._remove(previous, by=current)
        elif await self._is_ours(previous) or await self._was_retiring(previous):
            await self._remove_for_good(previous, by=current)
        await self._note(previous, steps.RETIRED)
        await self._place.put({self._name + PREVIOUS: None})

    async def _chosen(self, wish: Wish, current: Secret) -> Secret:
        """The secret that is wished for. Nothing has changed yet when it is refused, or its time has not come."""
        await self._must_be_free()
        version = await self._next_version()
        if wish.username:
            chosen = self._authority.given(current, wish.username, wish.password)
            await self._authority.check(chosen)  # of the one in use nothing is asked: it may have been refused already
        else:
            await self._authority.check(current)
            chosen = self._authority.fresh(current, version)
        return {**chosen, VERSION: str(version)}

    async def _switch(self, current: Secret, fresh: Secret) -> None:
        if await self._is_ours(fresh):
            await self._authority.create(fresh, by=current)
            await self._note(fresh, steps.CREATED)
        await self._until_let_in(fresh)
        await self._note(fresh, steps.CHECKED)
        # Before it is done: what is not verified after this line counts as used by nobody.
        await self._note(fresh, steps.SWITCHING)
        await self._place.put({self._name: fresh, self._name + PREVIOUS: current, self._name + NEXT: None})
        await self._follow(fresh)

    async def _follow(self, secret: Secret) -> None:
        """See everyone use what the secret holds now."""
        await self._place.put({})  # services too are told anew, should that have been cut short
        previous = await self._kept(PREVIOUS)
        try:
            disturbed = await self._place.reload(self._component, f"a new login in {self._name}")
            if previous is not None:
                await self._must_be_unused(previous, secret, max(SETTLES, self._place.settles))
            await self._authority.check(secret)
        except RotationError as error:
            await self._note(secret, steps.FAILED, str(error))
            raise
        await self._note(secret, steps.VERIFIED, f"without calm: {disturbed}" if disturbed else "")

    async def _remove(self, secret: Secret, *, by: Secret) -> None:
        login = self._authority.login(secret)
        try:
            await self._authority.remove(secret, by=by)
        except RotationError as error:
            raise RotationError(
                f"{error}. If {login} was made elsewhere, remove it there and call this again"
            ) from error
        if not await _comes_true(lambda: self._authority.is_refused(secret), SETTLES):
            raise RotationError(f"{login} was removed and is still let in after {SETTLES:.0f} s: call this again later")

    async def _remove_for_good(self, secret: Secret, *, by: Secret) -> None:
        """Remove what is refused already: a call that was cut short may have done it halfway.

        One that we did not make may have been removed elsewhere, because we may not.
        """
        try:
            await self._authority.remove(secret, by=by)
        except RotationError:
            if await self._is_ours(secret):
                raise

    async def _must_be_unused(self, secret: Secret, by: Secret, seconds: float) -> None:
        users: list[str] = []

        async def unused() -> bool:
            users[:] = await self._authority.users(secret, by=by)
            return not users

        if not await _comes_true(unused, seconds):
            raise RotationError(
                f"{self._authority.login(secret)} is still used by {', '.join(sorted(set(users)))} ({len(users)}"
                " connections): call this again to go on, or with --back to return"
            )

    async def _until_let_in(self, secret: Secret) -> None:
        """A broker tells its nodes of a new login a moment after it has answered."""

        async def let_in() -> bool:
            return not await self._authority.is_refused(secret)

        if await self._is_ours(secret):
            await _comes_true(let_in, SETTLES)
        await self._authority.check(secret)

    async def _must_be_free(self) -> None:
        unfinished, previous = await self._kept(NEXT), await self._kept(PREVIOUS)
        if unfinished is not None:
            raise RotationError(
                f"version {_version(unfinished)} was cut short: go on by calling this without an option, or give it up"
                " with --back"
            )
        if previous is not None:
            raise RotationError(
                f"version {_version(previous)} ({self._authority.login(previous)}) is still let in: retire it first"
                " with --retire, or return to it with --back"
            )

    async def _is_ours(self, secret: Secret) -> bool:
        return await self._journal.has(self._name, _version(secret), steps.BEGUN, MADE)

    async def _was_retiring(self, secret: Secret) -> bool:
        return await self._journal.has(self._name, _version(secret), steps.RETIRING)

    async def _is_verified(self, secret: Secret) -> bool:
        return await self._kept(PREVIOUS) is None or await self._journal.verified(self._name) == _version(secret)

    async def _current(self) -> Secret:
        found = (await self._place.secrets()).get(self._name)
        if not found:
            raise RotationError(f"there is no secret {self._name}: nothing logs in with it here")
        return found

    async def _kept(self, suffix: str) -> Secret | None:
        kept = (await self._place.secrets()).get(self._name + suffix)
        if kept is None:
            return None
        return {**self._authority.beside(kept, await self._current()), VERSION: str(_version(kept))}

    async def _next_version(self) -> int:
        known = [one.version for one in await self._journal.entries(self._name)]
        return max([_version(await self._current()), *known]) + 1

    def _told(self, secret: Secret, history: list[Entry]) -> Login:
        version = _version(secret)
        since = [one.at for one in history if one.version == version and one.step in {steps.SWITCHING, steps.BACK}]
        return Login(version, self._authority.login(secret), since[-1] if since else None)

    async def _note(self, secret: Secret, step: str, detail: str = "") -> None:
        login = self._authority.login(secret)
        self._tell(await self._journal.add(self._name, _version(secret), step, login=login, detail=detail))


def _version(secret: Secret) -> int:
    return int(secret.get(VERSION, "1"))


async def _comes_true(holds: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not await holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL)
    return True
