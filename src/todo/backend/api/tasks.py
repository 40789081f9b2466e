"""The tasks of a user."""

from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from todo.backend import commands, organising, undoing, views
from todo.backend.api import models, requests
from todo.backend.api.models import DismissIn, MoveIn, PreviewIn, SnoozeIn, TaskIn, TaskPatch
from todo.backend.api.problems import answers
from todo.backend.api.quick import series_out
from todo.backend.api.requests import Expected, IdempotencyKey, Reader, TheBackend, Writer
from todo.backend.auth.scopes import Scope
from todo.backend.commands import Draft, NotFoundError
from todo.backend.store import people
from todo.backend.store import tasks as store
from todo.backend.store.filters import Wanted
from todo.backend.store.orders import Sort, order_of
from todo.domain import series as series_rules
from todo.domain.due import parse_due
from todo.domain.errors import RuleError
from todo.domain.filters import MAX_LENGTH, all_of, parse
from todo.domain.filters.tree import Text, speaks_of_closed
from todo.domain.series import TaskSeries
from todo.domain.task import Task, check_title
from todo.messaging.unit import Transaction

router = APIRouter(tags=["tasks"])

Limit = Annotated[int, Query(ge=1, le=500)]


@router.post(
    "/tasks",
    status_code=201,
    response_model=models.TaskOut,
    responses=answers(409, 413),
    dependencies=[requests.needs(Scope.WRITE)],
)
async def create(
    body: TaskIn, request: Request, backend: TheBackend, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create a task. Reminders that are due go out within about a second."""
    user = await requests.owner(request, body.user_id)
    draft = Draft(check_title(body.title), body.fields(user), body.recurrence.repetition if body.recurrence else None)
    context = backend.context(request)
    if (
        idempotency_key is None and draft.repetition is None and not draft.is_placed
    ):  # one statement needs no transaction around it
        created = await commands.create(backend.database.pool, context, user, draft)
        backend.database.wake_relay()
        return _created(*created)

    async def act(unit: Transaction) -> Response:
        unit.tells = True
        if draft.is_placed:
            await people.lock(unit.connection, user.id)
        return _created(*await commands.create(unit.connection, context, user, draft))

    return await requests.act_once(backend, request, user.id, idempotency_key, act)


@router.get("/tasks", response_model=models.TaskList)
async def list_tasks(  # noqa: PLR0913 - filters
    backend: TheBackend,
    user: Reader,
    *,
    status: Annotated[
        Literal["open", "done", "skipped", "all", "trash"] | None,
        Query(description="open, unless the filter says is: or closed"),
    ] = None,
    label: Annotated[str | None, Query(max_length=50)] = None,
    q: Annotated[str | None, Query(max_length=200, description="words, or their beginnings, in title or notes")] = None,
    filter_: Annotated[
        str | None, Query(alias="filter", max_length=MAX_LENGTH, description="see /filters/check and docs/filters.md")
    ] = None,
    sort: Annotated[
        Sort, Query(description="newest, soonest due or most urgent first, by title, or in your own order")
    ] = Sort.CREATED,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
    limit: Limit = 100,
    list_id: UUID | None = None,
    parent_id: UUID | None = None,
) -> Response:
    """A page of tasks, or of the trash, what came there last first.

    It starts after the last row of the page before, whatever came and went meanwhile.
    """
    order = order_of(sort, is_trash=status == store.TRASH)
    node = all_of([parse(filter_ or ""), *(Text(word) for word in (_plain("q", q) or "").split())])
    page = store.Page(
        user.id,
        None if status == "all" else status or (None if speaks_of_closed(node) else "open"),
        _plain("label", label),
        Wanted(node, user.id, user.zone, backend.database.clock()),
        sort,
        after=requests.read_cursor(cursor, order),
        limit=limit,
        list_id=list_id,
        parent_id=parent_id,
    )
    found = await store.page(backend.database.pool, page)
    more = len(found) == limit
    cursor = requests.write_cursor(order.place_of(found[-1])) if more else None
    return requests.answer({"tasks": [models.listed_out(row) for row in found], "next_cursor": cursor})


@router.get("/tasks/{task_id}", response_model=models.TaskDetail, responses=answers(404))
async def read(task_id: UUID, backend: TheBackend, user: Reader) -> Response:
    """A task, its ETag, and what became of each of its reminders."""
    task, series = await _find(backend, user.id, task_id)
    history = await views.reminder_history(backend.database.pool, task, backend.database.clock())
    return requests.answer(models.task_out(task, series) | {"reminder_history": history}, version=task.version)


@router.patch("/tasks/{task_id}", response_model=models.TaskOut, responses=answers(404, 412, 413, 428))
async def edit(  # noqa: PLR0913 - the task and the request
    task_id: UUID, body: TaskPatch, request: Request, backend: TheBackend, user: Writer, expected: Expected
) -> Response:
    """Change a task. Absent fields stay, null clears; If-Match is required."""
    version = requests.demanded(expected)
    given = "recurrence" in body.model_fields_set
    repetition = body.recurrence.repetition if body.recurrence else None
    async with backend.database.transaction() as unit:
        context = backend.context(request)
        edited = await commands.edit(
            unit,
            context,
            user.id,
            task_id,
            expected=version,
            changes=lambda before: body.changes(before, user),
            repetition=repetition if given else ...,
            places_it=body.places_it,
        )
        return _changed(*edited, await undoing.keep(unit, context, user.id, "edit"))


@router.post("/tasks/{task_id}/complete", response_model=models.TaskOut, responses=answers(404, 409, 412, 413))
async def complete(  # noqa: PLR0913 - the task and the request
    task_id: UUID,
    request: Request,
    backend: TheBackend,
    user: Writer,
    expected: Expected,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Close a task as done. One of a series gets its successor. Completing a closed task changes nothing."""

    async def act(unit: Transaction) -> Response:
        context = backend.context(request)
        done = await commands.complete(unit, context, user.id, task_id, requests.optional(expected))
        return _changed(*done, await undoing.keep(unit, context, user.id, "complete"))

    return await requests.act_once(backend, request, user.id, idempotency_key, act)


@router.post("/tasks/{task_id}/reopen", response_model=models.TaskOut, responses=answers(404, 412))
async def reopen(task_id: UUID, request: Request, backend: TheBackend, user: Writer, expected: Expected) -> Response:
    """Open a closed task again. A successor that nobody touched is withdrawn."""
    async with backend.database.transaction() as unit:
        context = backend.context(request)
        opened = await commands.reopen(unit, context, user.id, task_id, requests.optional(expected))
        return _changed(*opened, await undoing.keep(unit, context, user.id, "reopen"))


@router.post("/tasks/{task_id}/snooze", response_model=models.TaskOut, responses=answers(404, 413))
async def snooze(task_id: UUID, body: SnoozeIn, request: Request, backend: TheBackend, user: Writer) -> Response:
    """Remind once more at another instant."""
    if body.until.tzinfo is None:
        raise RuleError("until", "it has no offset", "give an instant such as 2026-03-01T09:00:00+01:00")
    async with backend.database.transaction() as unit:
        context = backend.context(request)
        snoozed = await commands.snooze(unit, context, user.id, task_id, until=body.until, instead_of=body.reminder)
        return _changed(*snoozed, await undoing.keep(unit, context, user.id, "snooze"))


@router.post("/tasks/{task_id}/dismiss", response_model=models.TaskOut, responses=answers(404, 412, 413))
async def dismiss(  # noqa: PLR0913 - the task and the request
    task_id: UUID, body: DismissIn, request: Request, backend: TheBackend, user: Writer, expected: Expected
) -> Response:
    """Turn one reminder off: what it would still send is not sent. The task and its other reminders stay."""
    async with backend.database.transaction() as unit:
        context = backend.context(request)
        kept = await commands.dismiss(
            unit, context, user.id, task_id, expected=requests.optional(expected), text=body.reminder
        )
        return _changed(*kept, await undoing.keep(unit, context, user.id, "dismiss"))


@router.post("/tasks/{task_id}/move", response_model=models.TaskOut, responses=answers(404, 412, 413))
async def move(  # noqa: PLR0913 - the task and the request
    task_id: UUID, body: MoveIn, request: Request, backend: TheBackend, user: Writer, expected: Expected
) -> Response:
    """Move a task behind another one in the manual order, which all lists share, and into a list or under a parent."""
    async with backend.database.transaction() as unit:
        context = backend.context(request)
        moved = await organising.move(
            unit,
            context,
            user.id,
            task_id,
            expected=requests.optional(expected),
            after=body.after,
            changes=body.changes,
        )
        return _changed(*moved, await undoing.keep(unit, context, user.id, "move"))


@router.post("/tasks/{task_id}/restore", response_model=models.TaskOut, responses=answers(404, 409, 412))
async def restore(task_id: UUID, request: Request, backend: TheBackend, user: Writer, expected: Expected) -> Response:
    """Take a task out of the trash, with what its deletion took along. A task that is not there stays as it is."""
    async with backend.database.transaction() as unit:
        context = backend.context(request)
        back = await organising.restore(unit, context, user.id, task_id, requests.optional(expected))
        return _changed(*back, await undoing.keep(unit, context, user.id, "restore"))


@router.delete("/tasks/{task_id}", status_code=204, responses=answers(404, 412))
async def delete(  # noqa: PLR0913 - the task and the request
    task_id: UUID,
    request: Request,
    backend: TheBackend,
    user: Writer,
    expected: Expected,
    scope: Annotated[
        Literal["occurrence", "series"] | None, Query(description="which, for a task that repeats")
    ] = None,
) -> Response:
    """Delete a task with its subtasks; `restore` brings them back.

    Of one that repeats, say whether this occurrence (the next one comes) or the series.
    """
    async with backend.database.transaction() as unit:
        context = backend.context(request)
        await commands.delete(
            unit,
            context,
            user.id,
            task_id,
            expected=requests.optional(expected),
            whole_series=None if scope is None else scope == "series",
        )
        undo = await undoing.keep(unit, context, user.id, "delete")
    return Response(status_code=204, headers=requests.undo_header(undo))


@router.get("/tasks/{task_id}/occurrences", response_model=models.OccurrencesOut, responses=answers(404))
async def occurrences(
    task_id: UUID,
    backend: TheBackend,
    user: Reader,
    limit: Annotated[int, Query(ge=1, le=100)] = 5,
    language: models.Language = "en",
) -> Response:
    """The dates that follow this occurrence."""
    task, series = await _find(backend, user.id, task_id)
    if series is None or not series.is_alive:
        return requests.answer({"occurrences": [], "sentence": None, "remarks": []})
    return requests.answer(
        series_out(series, series_rules.preview(series, task.scheduled or task.due, limit), language)
    )


@router.post("/occurrences/preview", response_model=models.OccurrencesOut, responses=answers(413))
async def preview(body: PreviewIn) -> Response:
    """The first dates of a series that is not saved yet."""
    due = parse_due(body.due_at, body.due_date, body.zone)
    series = series_rules.start_series(uuid4(), 0, body.recurrence.repetition, due)
    return requests.answer(series_out(series, series_rules.preview(series, None, body.limit), body.language))


@router.get("/tasks/{task_id}/why", response_model=models.WhyOut, responses=answers(404))
async def why(task_id: UUID, backend: TheBackend, user: Reader) -> Response:
    """One timeline of a task: versions, outbox, schedule, claims, attempts, dead letters, and what comes next."""
    task = await store.owned(backend.database.pool, task_id, user.id, deleted=True)
    if task is None:
        raise NotFoundError("there is no such task")
    return requests.answer(await views.why(backend.database.pool, backend.dapr, task, backend.database.clock()))


async def _find(backend: TheBackend, user_id: int, task_id: UUID) -> tuple[Task, TaskSeries | None]:
    task = await store.owned(backend.database.pool, task_id, user_id)
    if task is None:
        raise NotFoundError("there is no such task")
    return task, await store.series(backend.database.pool, task.series_id) if task.series_id else None


def _created(task: Task, series: TaskSeries | None) -> Response:
    body = models.task_out(task, series)
    where, undo = f"/tasks/{task.id}", str(task.id)  # a task that was made is taken back by its own id
    return requests.answer(body, status=201, version=task.version, location=where, undo=undo)


def _changed(task: Task, series: TaskSeries | None, undo: str | None) -> Response:
    return requests.answer(models.task_out(task, series), version=task.version, undo=undo)


def _plain(field: str, text: str | None) -> Any:  # noqa: ANN401 - the same value
    if text and "\x00" in text:
        raise RuleError(field, "it contains U+0000", "remove the character")
    return text
