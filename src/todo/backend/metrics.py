"""What backend counts about its API and its dead letters."""

from prometheus_client import Gauge, Histogram

requests = Histogram(
    "todo_http_request_seconds",
    "Requests to the public API, by the route that took them (empty: none was reached)",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
open_letters = Gauge("todo_dead_letters_open", "Dead letters that nobody has replayed or discarded (10,001: or more)")
streams_open = Gauge("todo_streams_open", "Streams of changes that somebody reads here")
