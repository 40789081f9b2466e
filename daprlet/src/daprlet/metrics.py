"""Metrics under Dapr's own names, so that its dashboards and rules work unchanged.

Written by hand: the usual client library appends `_total` to counters, and Dapr's names do not have it.
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from daprlet.delivery import Outcome, Verdict
from daprlet.subscriptions import Subscription

_BUCKETS: Final = (
    *(1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 65, 80, 100, 130, 160, 200, 250, 300, 400, 500, 650, 800),
    *(1000, 2000, 5000, 10000, 20000, 50000, 100000),
)
_PROCESSED: Final = {
    Outcome.SUCCESS: "success",
    Outcome.DROP: "drop",
    Outcome.RETRY: "retry",
    Outcome.UNCOUNTED: "retry",
}

_Labels = tuple[tuple[str, str], ...]


class _Histogram:
    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(_BUCKETS, value)] += 1
        self.total += value


class Metrics:
    """Counters and latency histograms (milliseconds) of one sidecar; the durations it is given are seconds."""

    def __init__(self, app_id: str) -> None:
        self._base = (("app_id", app_id), ("namespace", os.environ.get("NAMESPACE", "default")))
        self._counters: dict[str, Counter[_Labels]] = {}
        self._histograms: dict[str, dict[_Labels, _Histogram]] = {}

    def published(self, pubsub: str, topic: str, seconds: float, *, success: bool) -> None:
        labels = {"component": pubsub, "topic": topic, "success": _bool(success)}
        self._record("component_pubsub_egress", labels, seconds)

    def bulk_published(self, pubsub: str, topic: str, events: int, seconds: float, *, success: bool) -> None:
        labels = {"component": pubsub, "topic": topic, "success": _bool(success)}
        self._record("component_pubsub_egress_bulk", labels, seconds)
        self._count("component_pubsub_egress_bulk_event_count", labels, events)

    def delivered(self, subscription: Subscription, verdicts: Iterable[Verdict], seconds: float) -> None:
        where = {"component": subscription.pubsub, "topic": subscription.topic}
        by_status = Counter(_PROCESSED[verdict.outcome] for verdict in verdicts)
        if subscription.batch:
            self._record("component_pubsub_ingress_bulk", where, seconds)
        for status, count in by_status.items():
            if subscription.batch:
                labels = where | {"process_status": status}
                self._count("component_pubsub_ingress_bulk_event_count", labels, count)
            else:
                self._record("component_pubsub_ingress", where | {"process_status": status, "status": status}, seconds)

    def state(self, store: str, operation: str, seconds: float, *, success: bool) -> None:
        labels = {"component": store, "operation": operation, "success": _bool(success)}
        self._record("component_state", labels, seconds)

    def secret(self, store: str, operation: str, seconds: float, *, success: bool) -> None:
        labels = {"component": store, "operation": operation, "success": _bool(success)}
        self._record("component_secret", labels, seconds)

    def job(self, seconds: float, *, success: bool) -> None:
        labels = {"operation": "job_trigger_op"}
        self._count("component_job_success_count" if success else "component_job_failure_count", labels, 1)
        self._observe("component_job_latencies", labels | {"success": _bool(success)}, seconds)

    def exposition(self) -> str:
        """All of it in Prometheus' text format."""
        lines: list[str] = []
        for name, values in sorted(self._counters.items()):
            lines.append(f"# TYPE dapr_{name} counter")
            lines += [f"dapr_{name}{_render(labels)} {value}" for labels, value in sorted(values.items())]
        for name, histograms in sorted(self._histograms.items()):
            lines.append(f"# TYPE dapr_{name} histogram")
            for labels, histogram in sorted(histograms.items()):
                lines += _histogram_lines(f"dapr_{name}", labels, histogram)
        return "\n".join([*lines, ""])

    def _record(self, name: str, labels: Mapping[str, str], seconds: float) -> None:
        self._count(f"{name}_count", labels, 1)
        self._observe(f"{name}_latencies", labels, seconds)

    def _count(self, name: str, labels: Mapping[str, str], by: int) -> None:
        self._counters.setdefault(name, Counter())[self._key(labels)] += by

    def _observe(self, name: str, labels: Mapping[str, str], seconds: float) -> None:
        self._histograms.setdefault(name, {}).setdefault(self._key(labels), _Histogram()).observe(seconds * 1000)

    def _key(self, labels: Mapping[str, str]) -> _Labels:
        return (*self._base, *labels.items())


def _histogram_lines(name: str, labels: _Labels, histogram: _Histogram) -> list[str]:
    lines, running = [], 0
    for bound, count in zip((*map(str, _BUCKETS), "+Inf"), histogram.counts, strict=True):
        running += count
        lines.append(f"{name}_bucket{_render((*labels, ('le', bound)))} {running}")
    return [*lines, f"{name}_sum{_render(labels)} {histogram.total:g}", f"{name}_count{_render(labels)} {running}"]


def _render(labels: _Labels) -> str:
    escaped = (f'{name}="{_escape(value)}"' for name, value in sorted(labels))
    return "{" + ",".join(escaped) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _bool(value: bool) -> str:  # noqa: FBT001 - the value itself, not a switch
    return "true" if value else "false"
