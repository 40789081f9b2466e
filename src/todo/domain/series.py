"""A series of tasks: the rule they follow, and which of its promises still hold."""

import datetime as dt
from dataclasses import dataclass, replace
from uuid import UUID

from todo.domain import recurrence
from todo.domain.due import Due
from todo.domain.errors import RuleError
from todo.domain.recurrence import Mode, Policy, RecurrenceError


@dataclass(frozen=True, slots=True)
class Repetition:
    """How a task repeats, as a person says it: an RRULE, what it counts from, and what a late closing skips."""

    rule: str
    mode: Mode = Mode.DUE
    policy: Policy = Policy.SKIP


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSeries:
    """`generation` grows with every edit of the rule: dates computed under an older one are declined.

    `first_seq` is the occurrence at which the rule was last edited, from which COUNT counts. `ended_seq` is the
    occurrence that will not come, once the rule has run out.
    """

    id: UUID
    user_id: int
    rule: str  # canonical RRULE
    start: Due
    mode: Mode = Mode.DUE
    policy: Policy = Policy.SKIP
    generation: int = 1
    first_seq: int = 1
    deleted: bool = False
    ended_seq: int | None = None

    @property
    def is_alive(self) -> bool:
        return not self.deleted and self.ended_seq is None

    @property
    def recurrence(self) -> recurrence.Series:
        return recurrence.Series(
            self.start.value, self.start.zone, recurrence.parse_rule(self.rule), self.mode, self.policy
        )


def start_series(series_id: UUID, user_id: int, repetition: Repetition, due: Due | None) -> TaskSeries:
    """Begin a series at a due date. Raises `RuleError` for a rule that is wrong or has no date from there on."""
    start = _start(due)
    try:
        series = TaskSeries(
            id=series_id,
            user_id=user_id,
            rule=recurrence.parse_rule(repetition.rule).text,
            start=start,
            mode=repetition.mode,
            policy=repetition.policy,
        )
        recurrence.first_due(series.recurrence)
    except RecurrenceError as error:  # it names the part of the rule, callers know the field the rule is in
        raise RuleError("recurrence.rule", f"{error.field} {error.problem}", error.fix) from error
    return series


def edit_series(series: TaskSeries, seq: int, repetition: Repetition, due: Due | None) -> TaskSeries:
    """Give a series another rule from occurrence `seq` on. The same series comes back when nothing differs."""
    fresh = start_series(series.id, series.user_id, repetition, due)
    same = (fresh.rule, fresh.mode, fresh.policy) == (series.rule, series.mode, series.policy)
    if same and series.is_alive and fresh.start.zone == series.start.zone:
        return series
    return replace(fresh, generation=series.generation + 1, first_seq=seq)


def preview(series: TaskSeries, after: Due | None, limit: int) -> list[dt.datetime | dt.date]:
    """The dates that come, strictly after `after`."""
    return recurrence.occurrences(series.recurrence, after=after.value if after else None, limit=limit)


def _start(due: Due | None) -> Due:
    if due is None:
        raise RuleError("recurrence", "the task has no due date", "give due_at or due_date; the series starts there")
    return due
