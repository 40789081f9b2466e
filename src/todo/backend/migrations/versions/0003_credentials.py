"""How callers are known under TODO_AUTH=required."""

from alembic import op

from todo.messaging.migrations import execute

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE api_tokens (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id bigint NOT NULL REFERENCES users,
        name text NOT NULL,
        beginning text NOT NULL,
        sha256 bytea NOT NULL UNIQUE,
        scopes text[] NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz,
        revoked_at timestamptz,
        last_used_at timestamptz
    )
    """,
    """
    CREATE TABLE identities (
        issuer text NOT NULL,
        subject text NOT NULL,
        user_id bigint NOT NULL REFERENCES users,
        scopes text[] NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (issuer, subject)
    )
    """,
)


def upgrade() -> None:
    execute(op, TABLES)


def downgrade() -> None:
    execute(op, ("DROP TABLE api_tokens, identities",))
