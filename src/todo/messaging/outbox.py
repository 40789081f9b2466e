"""The outbox: events that are committed but not yet with the broker. Rows are deleted once the broker has them.

The statements are here, once; every service with a database carries the table in its own schema.
"""

from typing import Final

CHANNEL_PREFIX: Final = "outbox_"  # NOTIFY channel: prefix + schema

CREATE: Final = (
    """
    CREATE TABLE outbox (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        topic text NOT NULL,
        key text NOT NULL,
        envelope bytea NOT NULL,
        created_at timestamptz NOT NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000)
    """,
)

# $1 topics, $2 keys, $3 envelopes, $4 now
INSERT: Final = """
INSERT INTO outbox (topic, key, envelope, created_at)
SELECT topic, key, envelope, $4 FROM unnest($1::text[], $2::text[], $3::bytea[]) AS emitted (topic, key, envelope)
"""

# The same, for rows whose ids are wanted: one id per event, in their order
INSERT_RETURNING: Final = """
WITH emitted AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('outbox', 'id')) AS id, place, topic, key, envelope
    FROM unnest($1::text[], $2::text[], $3::bytea[]) WITH ORDINALITY AS emitted (topic, key, envelope, place)
), written AS (
    INSERT INTO outbox (id, topic, key, envelope, created_at) OVERRIDING SYSTEM VALUE
    SELECT id, topic, key, envelope, $4 FROM emitted
)
SELECT id FROM emitted ORDER BY place
"""

# $1 limit, $2 topics and $3 ids to leave out; oldest first, so that what one transaction wrote goes out in its order.
# Nothing while the relay is paused (`messaging/pause.py`): the question costs no statement of its own.
READ: Final = """
SELECT id, topic, key, envelope, created_at FROM outbox
WHERE topic <> ALL($2::text[]) AND id <> ALL($3::bigint[])
  AND NOT EXISTS (SELECT FROM relay_pause WHERE until > clock_timestamp())
ORDER BY id LIMIT $1
"""

# $1 ids
DELETE: Final = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"

# Counted up to 10,001, which says "more than 10,000": a long outage must not make looking at it expensive
DEPTH: Final = """
SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT 10001) AS counted) AS depth,
       (SELECT created_at FROM outbox ORDER BY id LIMIT 1) AS oldest
"""
