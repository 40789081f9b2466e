"""Every revision can run under traffic, beside code of the release before: `docs/upgrade.md` has the rules.

Only forms that are known to be harmless pass; whatever else a revision does needs an exception with its reason.
"""

import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import pytest

from todo.messaging import migrations
from todo.operations.backup.restoring import MIGRATIONS

# What a revision may do that no form allows: (schema, revision, beginning of the statement) and why it was harmless.
_TX: Final = "ALTER COLUMN tx SET DEFAULT pg_current_xact_id()"
EXCEPTIONS: Final[dict[tuple[str, str, str], str]] = {
    ("backend", "0004", f"ALTER TABLE {table} {_TX}"): "old rows stay as they are; what old code inserts gets its value"
    for table in ("task_history", "series")
}

_NAME: Final = r'"?(\w+)"?'
_MADE: Final = re.compile(rf"CREATE TABLE {_NAME}", re.IGNORECASE)
# On tables that code of the release before uses. Each takes a strong lock for an instant at most, or none.
_HARMLESS: Final = (
    r"ALTER TABLE \w+ ADD COLUMN \w+ [\w\[\]]+",
    r"ALTER TABLE \w+ ADD COLUMN \w+ [\w\[\]]+( NOT NULL)? DEFAULT (\d+|'[^']*'|true|false)( NOT NULL)?",
    r"ALTER TABLE \w+ ADD CONSTRAINT \w+ (CHECK|FOREIGN KEY) .* NOT VALID",
    r"ALTER TABLE \w+ VALIDATE CONSTRAINT \w+",
    r"ALTER TABLE \w+ (SET|RESET) \((autovacuum_|fillfactor).*\)",
    r"(CREATE (UNIQUE )?INDEX|DROP INDEX) CONCURRENTLY .*",
    r"SET lock_timeout = .*",
)
_INDEX_ON: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?\w+ ON (\w+)", re.IGNORECASE)
_ALTERED: Final = re.compile(r"ALTER TABLE (\w+)", re.IGNORECASE)


class Op(ModuleType):
    """Records what a revision would run; knows whether that is outside a transaction."""

    def __init__(self) -> None:
        super().__init__("op")
        self.statements: list[str] = []

    def get_bind(self) -> Any:  # noqa: ANN401 - as much of a connection as is used
        return SimpleNamespace(exec_driver_sql=lambda sql: self.statements.append(" ".join(sql.split())))

    def get_context(self) -> Any:  # noqa: ANN401 - the same
        return SimpleNamespace(autocommit_block=lambda: _Block(self.statements))


class _Block:
    def __init__(self, statements: list[str]) -> None:
        self._statements = statements
        self._before = 0

    def __enter__(self) -> None:
        assert not self._statements, "what runs outside a transaction has a revision of its own"

    def __exit__(self, *_: object) -> None:
        self._statements.append("-- end of block")


def statements_of(file: Path) -> list[str]:
    """What a revision's `upgrade` runs."""
    spec = importlib.util.spec_from_file_location(f"revision_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    op = Op()
    module.op = op  # type: ignore[attr-defined]  # what `from alembic import op` gave it
    module.upgrade()
    return op.statements


def refused(statements: Sequence[str]) -> Iterator[str]:
    """Statements that code in use could wait for, or stumble over."""
    made = {found[1] for one in statements if (found := _MADE.match(one))}
    for one in statements:
        if one.startswith("-- ") or _MADE.match(one):
            continue
        on = _INDEX_ON.match(one) or _ALTERED.match(one)
        if on and on[1] in made:
            continue
        if not any(re.fullmatch(form, one, re.IGNORECASE) for form in _HARMLESS):
            yield one


REVISIONS: Final = [
    (schema, file) for schema, folder in MIGRATIONS.items() for file in sorted((folder / "versions").glob("*.py"))
]


@pytest.mark.parametrize(("schema", "file"), REVISIONS, ids=lambda one: getattr(one, "stem", one))
def test_no_revision_locks_or_breaks_what_is_in_use(schema: str, file: Path) -> None:
    excused = [text for (of, revision, text) in EXCEPTIONS if of == schema and file.stem.startswith(revision)]
    found = [one for one in refused(statements_of(file)) if not one.startswith(tuple(excused) or "\0")]
    assert found == []


def test_every_exception_is_needed() -> None:
    needed = {
        (schema, revision, text)
        for (schema, revision, text) in EXCEPTIONS
        for of, file in REVISIONS
        if of == schema and file.stem.startswith(revision)
        if any(one.startswith(text) for one in refused(statements_of(file)))
    }
    assert needed == set(EXCEPTIONS)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE tasks ADD COLUMN colour text NOT NULL",
        "ALTER TABLE tasks ADD COLUMN made timestamptz DEFAULT clock_timestamp()",
        "ALTER TABLE tasks ADD COLUMN id2 bigint GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE tasks DROP COLUMN notes",
        "ALTER TABLE tasks RENAME COLUMN notes TO remarks",
        "ALTER TABLE tasks RENAME TO items",
        "ALTER TABLE tasks ALTER COLUMN priority TYPE int",
        "ALTER TABLE tasks ALTER COLUMN notes SET NOT NULL",
        "ALTER TABLE tasks ADD CONSTRAINT short CHECK (length(title) < 300)",
        "ALTER TABLE tasks ADD COLUMN colour text, DROP COLUMN notes",
        "CREATE INDEX tasks_title ON tasks (title)",
        "DROP INDEX tasks_due",
        "DROP TABLE answers",
        "UPDATE tasks SET priority = 0",
        "TRUNCATE answers",
        "LOCK TABLE tasks",
        "VACUUM FULL tasks",
        "CREATE TRIGGER told AFTER INSERT ON tasks EXECUTE FUNCTION tell()",
    ],
)
def test_what_locks_or_breaks_is_refused(statement: str) -> None:
    assert list(refused(["CREATE TABLE other (id int)", statement])) == [statement]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE tasks ADD COLUMN colour text",
        "ALTER TABLE tasks ADD COLUMN labels text[]",
        "ALTER TABLE tasks ADD COLUMN rank int NOT NULL DEFAULT 0",
        "ALTER TABLE tasks ADD COLUMN hidden boolean DEFAULT false NOT NULL",
        "ALTER TABLE tasks ADD CONSTRAINT short CHECK (length(title) < 300) NOT VALID",
        "ALTER TABLE tasks VALIDATE CONSTRAINT short",
        "CREATE UNIQUE INDEX CONCURRENTLY tasks_title ON tasks (title)",
        "CREATE INDEX other_id ON other (id)",
        "CREATE TABLE more (id int)",
    ],
)
def test_what_old_code_does_not_notice_is_allowed(statement: str) -> None:
    assert list(refused(["CREATE TABLE other (id int)", statement])) == []


def test_an_index_beside_traffic_has_a_revision_of_its_own() -> None:
    """Half of a revision that cannot be one transaction would have to be undone by hand."""
    op = Op()
    migrations.create_index(op, "tasks_title", "tasks (title)")
    assert list(refused(op.statements)) == []
    with pytest.raises(AssertionError, match="of its own"):
        migrations.create_index(op, "tasks_notes", "tasks (notes)")
