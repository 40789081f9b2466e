from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daprlet import jobs, log, state
from daprlet.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A running database with every table."""
    opened = Database(tmp_path / "daprlet.db", log.SCHEMA + jobs.SCHEMA + state.schema("state"))
    opened.start()
    yield opened
    await opened.close()
