"""Which metrics and labels a PromQL expression uses."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

SCRAPED: Final = frozenset({"namespace", "app", "pod", "job", "instance"})  # what the scrape adds to every series
_METRIC: Final = re.compile(r"(?<![\w:])((?:todo|dapr|event|process)_[a-z0-9_]+|up)(?![\w:])(?:\{([^}]*)\})?")
_MATCHED: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPED: Final = re.compile(r"\b(?:by|on|group_left)\s*\(([^)]*)\)")
_TEXT: Final = re.compile(r'"[^"]*"')


class Use(NamedTuple):
    """One metric in an expression, with the labels that are asked of it."""

    metric: str
    labels: frozenset[str]


def uses(expression: str) -> Iterator[Use]:
    """Every metric of an expression, those of recording rules left out; labels of the scrape are not counted."""
    grouped = {label.strip() for group in _GROUPED.findall(expression) for label in group.split(",")} - {""}
    for name, selector in _METRIC.findall(_GROUPED.sub("by", expression)):
        matched = set(_MATCHED.findall(_TEXT.sub("", selector)))
        yield Use(name, frozenset((matched | grouped) - SCRAPED))
