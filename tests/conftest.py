import sys
from pathlib import Path

# Test folders are no packages and the runner adds none to the path: this makes `tests.support` importable everywhere.
sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.postgres import database_url, databases, pg_server

__all__ = ["database_url", "databases", "pg_server"]
