"""A tree as text: what `parse` reads as the same tree."""

from todo.domain.filters.days import write_day
from todo.domain.filters.tree import (
    And,
    Has,
    InList,
    Is,
    Label,
    Node,
    Not,
    Or,
    Overdue,
    Priority,
    Repeats,
    Subtask,
    Term,
    Text,
    Undated,
    When,
)


def write(node: Node) -> str:
    """The canonical text of a filter."""
    match node:
        case And(parts):
            return " & ".join(_grouped(part) if isinstance(part, Or) else write(part) for part in parts)
        case Or(parts):
            return " | ".join(write(part) for part in parts)
        case Not(part):
            return "-" + (_grouped(part) if isinstance(part, And | Or) else write(part))
        case _:
            return _term(node)


def _grouped(node: Node) -> str:
    return f"({write(node)})"


def _term(node: Term) -> str:
    match node:
        case Label(name):
            return f"#{name_of(name)}"
        case InList(name):
            return "no list" if name is None else f"@{name_of(name)}"
        case Priority(relation, level):
            return f"!{relation.removeprefix('=')}{level}"
        case When(field, side, day):
            return f"{field}{side}: {write_day(day)}"
        case Text(text, phrase):
            return quote(text) if phrase else text
        case _:
            return _word(node)


def _word(node: Has | Is | Undated | Overdue | Repeats | Subtask) -> str:
    match node:
        case Has(thing):
            return f"has:{thing}"
        case Is(status):
            return f"is:{status}"
        case Undated():
            return "no date"
        case _:
            return type(node).__name__.lower()


def name_of(name: str) -> str:
    """The name of a label or list as it follows its mark."""
    return name if set(name).isdisjoint('()&|"') and len(name.split()) == 1 else quote(name)


def quote(text: str) -> str:
    """The text between quotation marks, as the language has them."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
