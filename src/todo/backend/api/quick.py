"""What is typed as words: a line as a task, a sentence as a rule. Nothing here is saved."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from todo.backend.api import requests
from todo.backend.api.models import Day, Instant, Language, OccurrencesOut, Text
from todo.backend.api.problems import answers
from todo.backend.api.requests import Reader, TheBackend
from todo.backend.store import lists as list_store
from todo.domain import quick_add
from todo.domain import series as series_rules
from todo.domain.due import Due, parse_due, zone_info
from todo.domain.errors import RuleError
from todo.domain.language import Context
from todo.domain.quick_add import Kind, Reading, Token
from todo.domain.quick_add.reading import SHOWN
from todo.domain.recurrence import Mode, Policy, parse_rule
from todo.domain.recurrence.rule import Freq
from todo.domain.sentences import calendar_remarks, clock_remarks, read_rule, say_rule
from todo.domain.series import Repetition, TaskSeries

router = APIRouter(tags=["quick add"])

_HOUR: Final = dt.timedelta(hours=1)


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class QuickAddIn(_Input):
    """One line, such as `pay rent every last day of month 9am #home !1 remind 1h`."""

    text: Text = Field(examples=["pay rent every last day of month 9am #home !1 remind 1h"])
    zone: str | None = Field(None, max_length=64, description="IANA time zone; the user's, if not given")
    language: Language = "en"
    at: Instant | None = Field(None, description="when it was written, if not now: what `tomorrow` means goes by it")


class SentenceIn(_Input):
    """A sentence that says how something repeats, or an RRULE; due says where the series begins."""

    text: Text = Field(examples=["every Monday and Thursday, until 31 December 2030"])
    due_at: Instant | None = None
    due_date: Day | None = Field(None, description="without any due the series begins today")
    zone: str | None = Field(None, max_length=64, description="IANA time zone; the user's, if not given")
    language: Language = "en"


class TokenOut(BaseModel):
    """A stretch of the text that was understood; `end` is exclusive, both count UTF-16 code units."""

    start: int
    end: int
    kind: Kind
    text: str


class FiringOut(BaseModel):
    reminder: str
    fire_at: dt.datetime


class QuickAddOut(BaseModel):
    """A line as a task. Every word of it is in `title` or in a token."""

    title: str
    tokens: list[TokenOut]
    draft: dict[str, Any] = Field(description="what to give to POST /tasks")
    reading: str = Field(description="one sentence")
    occurrences: list[dt.datetime | dt.date] = Field(description="the first dates of what repeats")
    reminders: list[FiringOut]
    remarks: list[str]


class SentenceOut(OccurrencesOut):
    """A rule with its sentence and its first dates."""

    rule: str
    mode: Mode
    policy: Policy


@router.post("/quick-add", response_model=QuickAddOut, responses=answers(413))
async def read_line(body: QuickAddIn, backend: TheBackend, user: Reader) -> Response:
    """Read one line as a task, without saving it. What is not understood stays in the title, word for word."""
    zone = body.zone or user.zone
    if body.at is not None and body.at.tzinfo is None:
        raise RuleError("at", "it has no offset", "give an instant such as 2026-03-01T09:00:00+01:00")
    lists = {one.name.casefold(): one.id for one in await list_store.of_user(backend.database.pool, user.id)}
    now = body.at or backend.database.clock()
    reading = quick_add.read(body.text, now=now, zone=zone, language=body.language, lists=lists)
    return requests.answer(
        {
            "title": reading.title,
            "tokens": [_token_out(body.text, token) for token in reading.tokens],
            "draft": _draft(reading, lists),
            "reading": reading.sentence,
            "occurrences": reading.occurrences,
            "reminders": [{"reminder": one.reminder, "fire_at": one.fire_at} for one in reading.instances],
            "remarks": reading.remarks,
        }
    )


@router.post("/sentences", response_model=SentenceOut, responses=answers(413))
async def read_sentence(body: SentenceIn, backend: TheBackend, user: Reader) -> Response:
    """Read a sentence, or an RRULE, that says how something repeats; answers with the rule, said back."""
    zone = body.zone or user.zone
    now = backend.database.clock().astimezone(zone_info(zone))
    repetition = read_rule(body.text, Context(now, zone_info(zone)), body.language)
    due = parse_due(body.due_at, body.due_date, zone) or _soon(repetition, zone, now)
    try:
        series = series_rules.start_series(uuid4(), user.id, repetition, due)
    except RuleError as error:
        raise RuleError("text", error.problem, error.fix) from error
    rule = {"rule": series.rule, "mode": series.mode, "policy": series.policy}
    return requests.answer(rule | series_out(series, series_rules.preview(series, None, SHOWN), body.language))


def series_out(series: TaskSeries, dates: Sequence[dt.datetime | dt.date], language: str) -> dict[str, Any]:
    """Dates of a series in the shape of `OccurrencesOut`, with its sentence."""
    rules = series.recurrence
    return {
        "occurrences": dates,
        "sentence": say_rule(rules.rule, series.mode, series.policy, language),
        "remarks": [*calendar_remarks(rules, language), *clock_remarks(rules, dates, language)],
    }


def _soon(repetition: Repetition, zone: str, now: dt.datetime) -> Due:
    """Where a series begins of which nothing was said: today, or in the next hour if it is hourly."""
    if parse_rule(repetition.rule).freq is not Freq.HOURLY:
        return Due(zone, date=now.date())
    hour = now.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0) + _HOUR
    return Due(zone, at=hour)


def _token_out(text: str, token: Token) -> dict[str, Any]:
    start = _code_units(text[: token.start])
    return {"start": start, "end": start + _code_units(token.text), "kind": token.kind, "text": token.text}


def _code_units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _draft(reading: Reading, lists: Mapping[str, UUID]) -> dict[str, Any]:
    """What POST /tasks takes; only what was said."""
    due, repetition = reading.due, reading.repetition
    draft: dict[str, Any] = {"title": reading.title}
    if due is not None:
        local = due.at.astimezone(zone_info(due.zone)).isoformat() if due.at else None
        draft |= ({"due_at": local} if local else {"due_date": due.date}) | {"zone": due.zone}
    if repetition is not None:
        draft["recurrence"] = {"rule": repetition.rule, "mode": repetition.mode, "policy": repetition.policy}
    said: dict[str, Any] = {
        "reminders": reading.reminders,
        "labels": reading.labels,
        "priority": reading.priority,
        "list_id": lists[reading.list.casefold()] if reading.list else None,
    }
    return draft | {name: value for name, value in said.items() if value}
