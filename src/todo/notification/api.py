"""What `todo why` and `todo verify` read: the schedule, by task, in numbers, and page by page."""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from todo.contracts import schedule
from todo.contracts.schedule import (
    KnownTask,
    KnownTasks,
    PageQuery,
    Reminders,
    RemindersQuery,
    Restore,
    ScheduledReminder,
    Summary,
    TasksQuery,
)
from todo.dapr.subscriber import UnavailableError
from todo.messaging import outbox, pause
from todo.messaging.unit import Database
from todo.notification import store
from todo.notification.schedule import Reminder

_START: Final = (UUID(int=0), "", dt.datetime.min.replace(tzinfo=dt.UTC))

Query = TypeVar("Query", bound=msgspec.Struct)


class _NoQuery(msgspec.Struct, frozen=True):
    pass


def routes(database: Database) -> list[Route]:
    """The routes, to be put behind the app token."""

    async def reminders(query: RemindersQuery) -> msgspec.Struct:
        async with database.transaction() as tx:
            return _shown(await store.of_tasks(tx.connection, query.task_ids[: schedule.MAX_TASKS]))

    async def summary(_: _NoQuery) -> msgspec.Struct:
        return await _summary(database)

    async def page(query: PageQuery) -> msgspec.Struct:
        after = (query.after.task_id, query.after.reminder, query.after.fire_at) if query.after else _START
        async with database.transaction() as tx:
            return _shown(await store.page(tx.connection, after, max(1, min(query.limit, schedule.MAX_PAGE))))

    async def tasks(query: TasksQuery) -> msgspec.Struct:
        async with database.transaction() as tx:
            rows = await store.known_tasks(tx.connection, query.after, max(1, min(query.limit, schedule.MAX_PAGE)))
        return KnownTasks(tuple(KnownTask(**row) for row in rows))

    return [
        _route(schedule.REMINDERS, RemindersQuery, reminders),
        _route(schedule.SUMMARY, _NoQuery, summary),
        _route(schedule.PAGE, PageQuery, page),
        _route(schedule.TASKS, TasksQuery, tasks),
    ]


async def _summary(database: Database) -> Summary:
    async with database.transaction() as tx:
        depth = await tx.connection.fetchrow(outbox.DEPTH)
        return Summary(
            now=tx.now,
            states=await store.counts(tx.connection),
            next_fire=await store.next_fire(tx.connection, tx.now),
            oldest_overdue=await store.oldest_overdue(tx.connection, tx.now),
            outbox_depth=depth["depth"] if depth else 0,
            outbox_oldest=depth["oldest"] if depth else None,
            relay_paused=await pause.in_force(tx.connection),
            restores=tuple(Restore(**row) for row in await store.restores(tx.connection)),
        )


def _shown(rows: list[Reminder]) -> Reminders:
    return Reminders(tuple(msgspec.convert(row, ScheduledReminder, from_attributes=True) for row in rows))


def _route(method: str, query: type[Query], answer: Callable[[Query], Awaitable[msgspec.Struct]]) -> Route:
    decoder = msgspec.json.Decoder(query)

    async def endpoint(request: Request) -> Response:
        try:
            asked = decoder.decode(await request.body() or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _problem(400, "invalid query", str(error))
        try:
            found = await answer(asked)
        except UnavailableError as error:
            return _problem(503, "schedule unavailable", str(error))
        return Response(msgspec.json.encode(found), media_type="application/json")

    return Route(f"/{method}", endpoint, methods=["POST"])


def _problem(status: int, title: str, detail: str) -> Response:
    body = {"type": f"urn:todo:problem:{title.replace(' ', '-')}", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")
