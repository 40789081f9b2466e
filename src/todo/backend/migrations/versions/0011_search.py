"""Tasks are found by their words, each with its owner before it. The expression is that of `store/search.py`."""

from alembic import op

from todo.messaging.migrations import create_index, execute

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

NAME = "tasks_search"
PUNCTUATION = (
    "!\"#$%&'()*+,./:;<=>?@^_`{|}~"
    "\u00a0\u00a1\u00a7\u00a9\u00ab\u00ae\u00b0\u00b4\u00b7\u00bb\u00bf\u00d7\u2003\u2009\u200b\u2010\u2011\u2012"
    "\u2013\u2014\u2018\u2019\u201a\u201c\u201d\u201e\u2022\u2026\u202f\u2039\u203a\u2192\u3000\u3001\u3002\u300c\u300d"
    "\uff01\uff08\uff09\uff0c\uff1a\uff1f"
)
LITERAL = PUNCTUATION.replace("'", "''")
BETWEEN = rf"[]{LITERAL}[\\\s-]+"
OWNER = "' u' || user_id::text || 'x'"
WORDS = f"regexp_replace(lower(' ' || title || ' ' || notes), '{BETWEEN}', {OWNER}, 'g')"
VECTOR = f"to_tsvector('simple', {WORDS})"
# Every search goes through what is not in the index yet, so that is kept short: 256 kB, not 4 MB. It holds tombstones
# too: what PostgreSQL knows of how often a word occurs it does not use if the index is a partial one.
INDEX = f"tasks USING gin (({VECTOR})) WITH (gin_pending_list_limit = 256)"


def upgrade() -> None:
    create_index(op, NAME, INDEX)


def downgrade() -> None:
    execute(op, (f"DROP INDEX {NAME}",))
