"""What a service counts about its sidecar's calls."""

from prometheus_client import Counter, Histogram

deliveries = Counter(
    "todo_deliveries", "Deliveries of events by the answer: done, put_off (503) or failed", ["topic", "answer"]
)
duration = Histogram(
    "todo_delivery_seconds",
    "One delivery of events, from its arrival to the answer",
    ["topic"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
batch = Histogram("todo_delivery_events", "Events of one delivery", ["topic"], buckets=(1, 2, 5, 10, 20, 50, 100))
refused = Counter("todo_requests_refused", "Calls of whoever was not let in, by the kind of problem", ["problem"])
