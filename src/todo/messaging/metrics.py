"""What every service counts about its events."""

from prometheus_client import Counter, Gauge, Histogram

consumed = Counter("todo_events_consumed", "Events taken in, redeliveries and parked ones included", ["topic"])
parked = Counter("todo_events_parked", "Events given up and handed to the dead letters", ["topic"])
probes = Counter("todo_probe_events", "Operators' test events received", ["topic"])
published = Counter("todo_events_published", "Events the broker acknowledged", ["topic"])
publish_failures = Counter("todo_event_publish_failures", "Publish calls that failed, whole or in part", ["topic"])
publish_duration = Histogram(
    "event_publish_duration_seconds",
    "One publish call of the relay, up to the broker's acknowledgement",
    ["topic"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
age = Histogram(
    "todo_event_age_seconds",
    "From the writing of an event to its arrival at its consumer: what outbox and broker took",
    ["topic"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400),
)
outbox_depth = Gauge("todo_outbox_depth", "Committed events not yet with the broker (seen by the leading relay)")
outbox_age = Gauge("todo_outbox_oldest_seconds", "Age of the oldest of them")
relay_leading = Gauge("todo_relay_leading", "1 while this replica's relay is the active one")
connections_busy = Gauge("todo_database_connections_busy", "Connections of the pool that are at work")
connections_limit = Gauge("todo_database_connections_limit", "How many the pool may have")
connection_wait = Histogram(
    "todo_database_connection_wait_seconds",
    "How long a transaction waited for a connection of the pool",
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 15),
)
