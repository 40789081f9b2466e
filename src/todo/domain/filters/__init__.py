"""The filter language: `#home & (overdue | due before: +7d) & !1`. `docs/filters.md` describes it."""

from todo.domain.filters.faults import MAX_LENGTH, Fault, FilterError
from todo.domain.filters.parsing import parse
from todo.domain.filters.tree import EVERYTHING, Node, all_of, walk
from todo.domain.filters.writing import write

__all__ = ["EVERYTHING", "MAX_LENGTH", "Fault", "FilterError", "Node", "all_of", "parse", "walk", "write"]
