"""The steps of a swap: check, measure, pause, drain, switch, follow, resume, verify.

Each may be the last one that runs. Before the switch a killed swap has changed nothing but the pause, which ends by
itself; after it the sidecars follow the component in place without help. Run again, it begins with what is in place.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from todo.dapr.errors import DaprError
from todo.operations import brokers, client, topics, verify
from todo.operations.brokers import Broker, BrokerError
from todo.operations.client import ClearTextError, NoAnswerError, RefusedError, UnreachableError
from todo.operations.swapping import draining, journal, pauses
from todo.operations.swapping.figures import Figures, Meter
from todo.operations.swapping.following import Sidecars
from todo.operations.swapping.journal import Entry
from todo.operations.swapping.pauses import Pauses
from todo.operations.swapping.target import Side, SwapError, SwapTarget
from todo.operations.verify import Finding

FOLLOW: Final = 60.0  # seconds for sidecars to load the component; longer than a killed one needs to be back
SETTLE: Final = 60.0  # seconds that `verify` gives what is under way
WINDOW: Final = 2.0  # seconds that each measurement takes
GRACE: Final = 10.0


class Report(msgspec.Struct, frozen=True):
    """What a swap did. `left_behind`: what an app never read on the broker before; None: it does not answer."""

    origin: str
    to: str
    moved: bool  # False: it was there already
    pause_seconds: float | None = None
    before: Figures | None = None
    during: Figures | None = None  # when everything was drained; None: there was nothing to be had in no time
    after: Figures | None = None
    left_behind: int | None = 0
    probes_left: int = 0  # at most so many of these are probes of ours
    agree: bool = True
    findings: tuple[Finding, ...] = ()
    restarted: tuple[str, ...] = ()  # sidecars that did not follow by themselves
    resumed: bool = False  # an earlier run was killed after its switch, and this one ended it


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Where to, whether what was published is read first and how long that may take, and who is told of each step."""

    to: str
    drain: bool = True
    seconds: float = 120.0
    follow_seconds: float = FOLLOW
    window: float = WINDOW
    settle: float = SETTLE
    tell: Callable[[str, str], None]


async def swap(target: SwapTarget, wish: Wish) -> Report:
    """Move a running system to another broker. Raises `SwapError`: then it is, or goes back, where it was."""
    async with target.alone():
        old, new = await target.current(), await target.side(wish.to)
        known = await journal.read(target)
        if _settings(old) != _settings(new):
            return await _move(target, wish, old, new)
        if known is not None and known.to == new.name:
            return await _finish(target, wish, known, new)
        return Report(new.name, new.name, moved=False)


@dataclass(frozen=True, slots=True)
class _Run:
    """What the steps work with: the broker before, the broker after, and whom they ask."""

    target: SwapTarget
    left: Broker
    right: Broker
    sidecars: Sidecars
    meter: Meter


@asynccontextmanager
async def _opened(target: SwapTarget, old: Side, new: Side) -> AsyncIterator[_Run]:
    async with AsyncExitStack() as stack:
        try:
            left = await stack.enter_async_context(brokers.connected(old.component, old.metadata))
            right = await stack.enter_async_context(brokers.connected(new.component, new.metadata))
        except BrokerError as error:
            raise SwapError(str(error)) from error
        http = await stack.enter_async_context(client.session())
        sidecars = Sidecars(http, target.sidecars, target.place.token)
        yield _Run(target, left, right, sidecars, Meter(http, target.place, sidecars))


async def _move(target: SwapTarget, wish: Wish, old: Side, new: Side) -> Report:
    async with _opened(target, old, new) as run:
        wish.tell("check", f"{run.left.place} and {run.right.place}, every service and sidecar")
        await _check(run, wish)
        wish.tell("measure", f"on {old.name}")
        before = await _before(run, wish)
        await journal.write(target, Entry(new.name, old.name, old.content.decode(), before))
        during, paused = None, None
        if wish.drain:
            during, paused = await _move_paused(run, wish, old, new)
        else:
            await _switch(run, wish, old, new)
        report = Report(old.name, new.name, moved=True, pause_seconds=paused, before=before, during=during)
        return await _ended(run, wish, report)


async def _check(run: _Run, wish: Wish) -> None:
    """Everything that must work. A broker that is lost can be left, without draining it."""
    await run.sidecars.check()
    try:
        await run.right.check()
        lacking = [one for one in await topics.check(run.right) if one.lacks]
        if wish.drain:
            await run.left.check()
    except BrokerError as error:
        raise SwapError(str(error)) from error
    if lacking:
        what = "; ".join(f"{one.name}: {', '.join(one.lacks)}" for one in lacking)
        raise SwapError(f"{run.right.place} is not prepared ({what}): run `todo topics create --to {wish.to}`")


async def _before(run: _Run, wish: Wish) -> Figures | None:
    try:
        return await run.meter.measure(run.left, wish.window)
    except SwapError:
        if wish.drain:
            raise
        return None


async def _move_paused(run: _Run, wish: Wish, old: Side, new: Side) -> tuple[Figures | None, float]:
    """The part while nothing is published."""
    wish.tell("pause", "the relays: the API goes on, events wait in the outboxes")
    paused = Pauses(run.target, pauses.holder(), f"from {old.name} to {new.name}")
    began = time.monotonic()
    async with paused.held():
        await paused.until_quiet()
        wish.tell("drain", f"until every app has read what is on {run.left.place}")
        await draining.drain(run.left, wish.seconds)
        during = await run.meter.glance(run.left)
        await paused.confirm()
        await _switch(run, wish, old, new, paused.confirm)
        wish.tell("resume", "the relays publish again")
    return during, round(time.monotonic() - began, 2)


async def _switch(
    run: _Run, wish: Wish, old: Side, new: Side, confirm: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Put the new component in place; whatever fails, a lost answer too, the old one comes back."""
    wish.tell("switch", f"from {old.name} to {new.name}")
    try:
        await run.target.apply(new)
        if confirm is not None:
            await confirm()  # an API server may take longer over it than the pause lasts
        wish.tell("follow", f"until every sidecar is on {run.right.place} and every service gets events from there")
        await run.sidecars.follow(new, run.right, wish.follow_seconds)
    except SwapError as error:
        wish.tell("back", f"to {old.name}: {error}")
        raise SwapError(f"{error}. {await _back(run, wish, old)}") from error


async def _back(run: _Run, wish: Wish, old: Side) -> str:
    try:
        await run.target.apply(old)
    except SwapError as error:
        return f"Whether the component of {old.name} is in place is not known ({error}): call this again"
    run.sidecars.restarted.clear()  # one that did not follow forwards may have to be restarted for the way back too
    try:
        await run.sidecars.follow(old, run.left, wish.follow_seconds)
    except SwapError as error:
        return f"The component of {old.name} is back in place, but {error}"
    return f"Everything is back on {old.name}"


async def _finish(target: SwapTarget, wish: Wish, known: Entry, new: Side) -> Report:
    """End what a killed run began: its switch was made."""
    old = await target.restored(known.origin, known.content.encode())
    async with _opened(target, old, new) as run:
        wish.tell("follow", f"until every sidecar is on {run.right.place}: an earlier run was cut short")
        await run.sidecars.follow(new, run.right, wish.follow_seconds)
        return await _ended(run, wish, Report(known.origin, new.name, moved=True, before=known.before, resumed=True))


async def _ended(run: _Run, wish: Wish, report: Report) -> Report:
    """Look at what came of it. Nothing goes back from here: the system is on the other broker."""
    wish.tell("verify", "that the services agree, and that nothing was left behind")
    try:
        left, probes = await _left_behind(run)
        verdict = await verify.verify(run.target.place, wait=wish.settle, grace=GRACE)
        after = await run.meter.measure(run.right, wish.window)
    except (SwapError, UnreachableError, RefusedError, ClearTextError, NoAnswerError, DaprError) as error:
        raise SwapError(f"the system is on {report.to} now, but {error}: run it again to have it looked at") from error
    await journal.forget(run.target)
    agreed = msgspec.structs.replace(report, agree=verdict.agree, findings=verdict.findings)
    return msgspec.structs.replace(
        agreed, after=after, left_behind=left, probes_left=probes, restarted=tuple(run.sidecars.restarted)
    )


async def _left_behind(run: _Run) -> tuple[int | None, int]:
    """What apps have not read on the broker before, and how many of it may be probes that a sidecar brought there.

    Most of these probes were read; which of them, a broker does not tell.
    """
    try:
        left = await draining.left_on(run.left)
    except SwapError:
        return None, 0
    probes = sum(min(lag.total, run.sidecars.strayed[topic]) for (_, topic), lag in left.items())
    return sum(lag.total for lag in left.values()), probes


def _settings(side: Side) -> Mapping[str, Any]:
    """A component without what a rotation changes to have it loaded anew, and what others may say beside it."""
    spec = {key: value for key, value in side.component["spec"].items() if key != "initTimeout"}
    return {"spec": spec, "auth": side.component.get("auth"), "scopes": side.component.get("scopes")}
