import os
import random
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.faults.verdicts import Show


@pytest.fixture
def seed(capsys: pytest.CaptureFixture[str]) -> int:
    """What decides the schedule; TODO_FAULT_SEED=n runs the same one again."""
    chosen = int(os.environ.get("TODO_FAULT_SEED") or random.SystemRandom().randrange(1_000_000))
    with capsys.disabled():
        Console().print(f"\nTODO_FAULT_SEED={chosen}", highlight=False)
    return chosen


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Print a small table of what a test saw, captured output or not."""

    def print_table(title: str, rows: Mapping[str, Any]) -> None:
        table = Table("what", "seen", title=title, title_justify="left")
        for name, value in rows.items():
            table.add_row(name, str(value))
        with capsys.disabled():
            Console(width=120, highlight=False).print(table)

    return print_table
