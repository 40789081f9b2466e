"""What `todo swap` tells of its outcome."""

import pytest

from todo.cli.swap import _verdict
from todo.operations.swap import Report


@pytest.mark.parametrize(
    ("left", "probes", "line"),
    [
        (None, 0, "what was left on kafka is not known: it does not answer"),
        (0, 0, "nothing was left on kafka"),
        (3, 0, "3 events were left on kafka, unread: "),
        (3, 2, "3 events were left on kafka, unread (at most 2 of them probes of this swap): "),
    ],
)
def test_what_was_left_is_told_with_what_of_it_may_be_probes(left: int | None, probes: int, line: str) -> None:
    told = _verdict(Report("kafka", "redis", moved=True, left_behind=left, probes_left=probes))
    assert told[0][0].startswith(line)
