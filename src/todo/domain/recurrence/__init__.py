"""RFC 5545 recurrence rules in a time zone: which dates a series has, and which one comes next.

Pure: no clock, no I/O but Python's cached time zone data. Every date is computed from the series' start, never from the
date before it, so nothing drifts. What happens in each corner (month ends, leap days, DST) is in `docs/recurrence.md`.
"""

from todo.domain.recurrence.parsing import parse_rule
from todo.domain.recurrence.rule import (
    FIRST_YEAR,
    LAST_YEAR,
    MAX_COUNT,
    MAX_INTERVAL,
    MAX_PREVIEW,
    MAX_RULE_LENGTH,
    MAX_TIMES_PER_HOUR,
    Due,
    NthDay,
    RecurrenceError,
    Rule,
)
from todo.domain.recurrence.series import Mode, Policy, Series, first_due, next_due, occurrences

__all__ = [
    "FIRST_YEAR",
    "LAST_YEAR",
    "MAX_COUNT",
    "MAX_INTERVAL",
    "MAX_PREVIEW",
    "MAX_RULE_LENGTH",
    "MAX_TIMES_PER_HOUR",
    "Due",
    "Mode",
    "NthDay",
    "Policy",
    "RecurrenceError",
    "Rule",
    "Series",
    "first_due",
    "next_due",
    "occurrences",
    "parse_rule",
]
