"""Export: everything of a user that is not deleted, page by page."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

from todo.backend.porting import ics, own_csv, own_json
from todo.backend.porting.formats import ExportFormat
from todo.backend.porting.own import Lists
from todo.backend.store import lists as store_of_lists
from todo.backend.store import porting as store
from todo.backend.store.people import Owner
from todo.domain.series import TaskSeries
from todo.domain.task import Task
from todo.messaging.postgres import Pool

PAGE: Final = 200  # tasks

Page = Sequence[tuple[Task, TaskSeries | None]]


async def export(pool: Pool, user: Owner, kind: ExportFormat, now: dt.datetime) -> AsyncIterator[bytes]:
    """The file, in pieces. What changes meanwhile is in it as it was or as it is; what is made meanwhile is not."""
    match kind:
        case ExportFormat.JSON:
            yield own_json.head(now)
        case ExportFormat.CSV:
            yield own_csv.head()
        case ExportFormat.ICS:
            yield await asyncio.to_thread(ics.head, await store.zones(pool, user.id))
    first = True
    async for page in _pages(pool, user, now):
        lists = {one.id: one for one in await store_of_lists.of_user(pool, user.id)}
        yield await asyncio.to_thread(partial(_body, kind, page, lists, now, first=first))
        first = False
    yield {ExportFormat.JSON: own_json.foot, ExportFormat.CSV: bytes, ExportFormat.ICS: ics.foot}[kind]()


async def _pages(pool: Pool, user: Owner, until: dt.datetime) -> AsyncIterator[Page]:
    after: Task | None = None
    while True:
        page = await store.page(pool, user.id, until, after, PAGE)
        if page:
            yield page
        if len(page) < PAGE:
            return
        after = page[-1][0]


def _body(kind: ExportFormat, page: Page, lists: Lists, now: dt.datetime, *, first: bool) -> bytes:
    match kind:
        case ExportFormat.JSON:
            return own_json.body(page, lists, first=first)
        case ExportFormat.CSV:
            return own_csv.body(page, lists)
        case ExportFormat.ICS:
            return ics.body(page, lists, now)
