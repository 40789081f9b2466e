"""Write what is generated of kubernetes/monitoring: Grafana's dashboards from the table below, the operator's rules."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MONITORING = Path(__file__).resolve().parents[1] / "kubernetes" / "monitoring"
WIDTH, HEIGHT = 8, 7  # of a panel; Grafana's rows are 24 wide
EXAMPLES = """\
examples:
  python tools/dashboards.py           write dashboards/*.json and prometheusrule.yaml, after a change of either
  python tools/dashboards.py --check   exit code 1 when a file is not what table and rules say
"""


@dataclass(frozen=True)
class Panel:
    """One panel: its unit as Grafana names it, and each line's expression with its legend.

    `{N` in an expression begins a selector that keeps to the namespace chosen on the board.
    """

    title: str
    unit: str
    lines: Mapping[str, str]
    tells: str = ""  # what it answers, where the title does not
    stat: bool = False  # one number instead of a curve


@dataclass(frozen=True)
class Board:
    uid: str
    title: str
    panels: Sequence[Panel] = field(default_factory=list)


def rate(metric: str, by: str, labels: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{N{labels}}}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "", labels: str = "") -> str:
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({grouped}) (rate({metric}_bucket{{N{labels}}}[$__rate_interval])))"


CREATED = ', method="POST", route="/tasks", status="201"'


def spread(metric: str, labels: str = "") -> dict[str, str]:
    """The median and the slow twentieth of a histogram."""
    return {"p50": quantile(0.5, metric, labels=labels), "p95": quantile(0.95, metric, labels=labels)}


PIPELINE = Board(
    "todo-pipeline",
    "Todo: the pipeline",
    [
        Panel("Oldest event in an outbox", "s", {"{{app}}": "max by (app) (todo_outbox_oldest_seconds{N})"}, stat=True),
        Panel("Dead letters waiting", "short", {"open": "max(todo_dead_letters_open{N})"}, stat=True),
        Panel(
            "Reminders are late by", "s",
            {"oldest that is due": "max(todo_reminders_oldest_due_seconds{N})"}, stat=True,
        ),
        Panel(
            "Tasks created", "reqps",
            {"created": rate("todo_http_request_seconds_count", "method", CREATED)},
        ),
        Panel("Events published", "ops", {"{{topic}}": rate("todo_events_published_total", "topic")}),
        Panel("Events taken in", "ops", {"{{app}} {{topic}}": rate("todo_events_consumed_total", "app, topic")}),
        Panel("Mails by outcome", "ops", {"{{outcome}}": rate("todo_mails_total", "outcome")}),
        Panel(
            "Age of events on arrival, p95", "s",
            {"{{app}} {{topic}}": quantile(0.95, "todo_event_age_seconds", "app, topic")},
            "The lag of each consumer, in seconds: what outbox and broker took.",
        ),
        Panel("Events waiting in an outbox", "short", {"{{app}}": "max by (app) (todo_outbox_depth{N})"}),
        Panel(
            "Lateness of reminders", "s",
            spread("todo_reminder_lateness_seconds"), "From the instant a reminder is for to its dispatch.",
        ),
        Panel(
            "Lateness of mails", "s",
            spread("todo_mail_lateness_seconds"), "From the instant a reminder is for to the mail server's acceptance.",
        ),
        Panel(
            "Ends of reminders", "ops",
            {"{{state}}": rate("todo_reminders_settled_total", "state")},
        ),
        Panel("Events given up", "ops", {"{{app}} {{topic}}": rate("todo_events_parked_total", "app, topic")}),
        Panel(
            "Healed by reconciliation", "ops",
            {
                "tasks fetched": rate("todo_tasks_reconciled_total", "app"),
                "ends told again": rate("todo_reminder_ends_told_again_total", "app"),
            },
            "What the broker lost and the reconciliation jobs made up for.",
        ),
        Panel("Relays that lead", "short", {"{{app}}": "sum by (app) (todo_relay_leading{N})"}, "One per database."),
    ],
)  # fmt: skip
INGRESS = "dapr_component_pubsub_ingress_bulk"
SIDECARS = Board(
    "todo-sidecars",
    "Todo: sidecars",
    [
        Panel("Up", "short", {"{{app}}": 'sum by (app) (up{N, job="todo-sidecars"})'}, stat=True),
        Panel("Components loaded", "short", {"{{app}}": "min by (app) (dapr_runtime_component_loaded{N})"}, stat=True),
        Panel(
            "App health probes that fail", "ops",
            {"{{app}}": rate("dapr_http_healthprobes_completed_count", "app", ', status!~"2.."')}, stat=True,
        ),
        Panel(
            "Publishing in bulk, p95", "ms",
            {"{{app}} {{topic}}": quantile(0.95, "dapr_component_pubsub_egress_bulk_latencies", "app, topic")},
            "From the sidecar to the broker's acknowledgement.",
        ),
        Panel(
            "Delivering in bulk, p95", "ms",
            {"{{app}} {{topic}}": quantile(0.95, f"{INGRESS}_latencies", "app, topic")},
            "From the sidecar to the app's answer.",
        ),
        Panel(
            "Publish calls that failed", "ops",
            {"{{app}} {{topic}}": rate("dapr_component_pubsub_egress_bulk_count", "app, topic", ', success="false"')},
        ),
        Panel(
            "Events by what became of them", "ops",
            {"{{app}} {{process_status}}": rate(f"{INGRESS}_event_count", "app, process_status")},
            "RETRY: delivered again later. DROP: handed to the dead-letter topic.",
        ),
        Panel(
            "Policies that stepped in", "ops",
            {"{{app}} {{policy}}": rate("dapr_resiliency_activations_total", "app, policy")},
            "Retries and timeouts of the Resiliency resource, after failures.",
        ),
        Panel(
            "State store, p95", "ms",
            {"{{app}} {{operation}}": quantile(0.95, "dapr_component_state_latencies", "app, operation")},
        ),
        Panel(
            "State calls that failed", "ops",
            {"{{app}} {{operation}}": rate("dapr_component_state_count", "app, operation", ', success="false"')},
            "A lost first-write counts as failed, and is how a claim is decided.",
        ),
        Panel(
            "Jobs triggered", "ops",
            {
                "{{app}}": rate("dapr_component_job_success_count", "app"),
                "{{app}} failed": rate("dapr_component_job_failure_count", "app"),
            },
        ),
        Panel("Jobs, p95", "ms", {"{{app}}": quantile(0.95, "dapr_component_job_latencies", "app")}),
        Panel(
            "Calls between apps", "ops",
            {"{{app}} to {{dst_app_id}}": rate("dapr_runtime_service_invocation_req_sent_total", "app, dst_app_id")},
        ),
        Panel(
            "Calls from the app", "reqps",
            {"{{app}} {{status}}": rate("dapr_http_server_request_count", "app, status")},
            "500 on a job or a state key that is not there is normal.",
        ),
        Panel(
            "Components that failed to load", "short",
            {"{{app}} {{component}}": "sum by (app, component) (dapr_runtime_component_init_fail_total{N})"},
        ),
    ],
)  # fmt: skip


def service(app: str, *own: Panel, database: bool = False, jobs: bool = False) -> Board:
    """What every service has, after what only this one has."""
    mine = f', app="{app}"'
    panels = [
        Panel("Replicas up", "short", {"up": f'sum(up{{N, job="todo-services"{mine}}})'}, stat=True),
        Panel("Memory", "bytes", {"{{pod}}": f"process_resident_memory_bytes{{N{mine}}}"}),
        Panel("CPU", "percentunit", {"{{pod}}": f"rate(process_cpu_seconds_total{{N{mine}}}[$__rate_interval])"}),
        *own,
    ]
    panels += [
        Panel(
            "Deliveries by answer",
            "ops",
            {"{{topic}} {{answer}}": rate("todo_deliveries_total", "topic, answer", mine)},
        ),
        Panel("Handling a delivery, p95", "s", {"{{topic}}": quantile(0.95, "todo_delivery_seconds", "topic", mine)}),
        Panel(
            "Events in a delivery, p95", "short", {"{{topic}}": quantile(0.95, "todo_delivery_events", "topic", mine)}
        ),
    ]
    if database:
        panels += [
            Panel(
                "Database connections",
                "short",
                {
                    "{{pod}} busy": f"todo_database_connections_busy{{N{mine}}}",
                    "{{pod}} limit": f"todo_database_connections_limit{{N{mine}}}",
                },
            ),
            Panel("Waiting for a connection", "s", spread("todo_database_connection_wait_seconds", mine)),
            Panel(
                "Publishing",
                "s",
                {"{{topic}} p95": quantile(0.95, "event_publish_duration_seconds", "topic", mine)},
                "One call of the relay, up to the broker's acknowledgement.",
            ),
            Panel(
                "Publishing that failed", "ops", {"{{topic}}": rate("todo_event_publish_failures_total", "topic", mine)}
            ),
        ]
    if jobs:
        panels += [
            Panel(
                "Looks of jobs",
                "ops",
                {
                    "{{job_name}} tick": rate("todo_job_ticks_total", "job_name", mine),
                    "{{job_name}} unasked": rate("todo_job_looks_unasked_total", "job_name", mine),
                    "{{job_name}} failed": rate("todo_job_failures_total", "job_name", mine),
                },
            ),
            Panel("One look, p95", "s", {"{{job_name}}": quantile(0.95, "todo_job_seconds", "job_name", mine)}),
        ]
    return Board(f"todo-{app}", f"Todo: {app}", panels)


BACKEND = service(
    "backend",
    Panel("Requests", "reqps", {"{{method}} {{route}}": rate("todo_http_request_seconds_count", "method, route")}),
    Panel("Answers", "reqps", {"{{status}}": rate("todo_http_request_seconds_count", "status")}),
    Panel("Requests, p95", "s", {"{{method}} {{route}}": quantile(0.95, "todo_http_request_seconds", "method, route")}),
    Panel(
        "Callers refused", "reqps", {"{{problem}}": rate("todo_requests_refused_total", "problem", ', app="backend"')}
    ),
    database=True,
    jobs=True,
)
NOTIFICATION = service(
    "notification-service",
    Panel("Reminders dispatched", "ops", {"dispatched": rate("todo_reminders_dispatched_total", "app")}),
    Panel("Backend has older versions", "ops", {"tasks": rate("todo_task_version_regressions_total", "app")}),
    database=True,
    jobs=True,
)
EMAIL = service(
    "email-delivery",
    Panel("Sending a mail", "s", spread("todo_mail_send_duration_seconds")),
    Panel("Connections to the mail server in use", "short", {"{{pod}}": "todo_smtp_connections_in_use{N}"}),
    Panel(
        "Mails not sent by this replica", "ops",
        {
            "another has the claim": rate("todo_mails_left_to_others_total", "app"),
            "no connection in time": rate("todo_mails_not_begun_total", "app"),
            "known already": rate("todo_mail_events_answered_total", "app"),
        },
    ),
    Panel(
        "Outcomes", "ops",
        {
            "told again": rate("todo_mail_outcomes_repeated_total", "app"),
            "not recorded": rate("todo_mails_unrecorded_total", "app"),
        },
    ),
)  # fmt: skip
BOARDS = [PIPELINE, SIDECARS, BACKEND, NOTIFICATION, EMAIL, service("recurring-service")]


def expressions(board: Board) -> Iterator[str]:
    """Every expression of a board, as Grafana gets it."""
    for panel in board.panels:
        yield from map(_in_namespace, panel.lines.values())


def dashboard(board: Board) -> dict[str, Any]:
    """A board in Grafana's JSON model."""
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["todo"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["todo"], "asDropdown": True, "title": "Todo", "keepTime": True}],
        "templating": {"list": [_datasource(), _namespace()]},
        "panels": [_panel(place, panel) for place, panel in enumerate(board.panels)],
    }


def _panel(place: int, panel: Panel) -> dict[str, Any]:
    across = 24 // WIDTH
    return {
        "id": place + 1,
        "title": panel.title,
        "description": panel.tells,
        "type": "stat" if panel.stat else "timeseries",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": place % across * WIDTH, "y": place // across * HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": _in_namespace(expression), "legendFormat": legend}
            for index, (legend, expression) in enumerate(panel.lines.items())
        ],
    }


def _in_namespace(expression: str) -> str:
    return re.sub(r"\{N\b", '{namespace=~"$namespace"', expression)


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _namespace() -> dict[str, Any]:
    """All namespaces, and what has none: a system on one host."""
    return {
        "name": "namespace",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": "label_values(todo_relay_leading, namespace)",
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def prometheus_rule(rules: Mapping[str, Any]) -> dict[str, Any]:
    """The rules as Prometheus' operator takes them."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "todo", "labels": {"app.kubernetes.io/part-of": "todo"}},
        "spec": rules,
    }


def files() -> Iterator[tuple[Path, str]]:
    """Every file that is generated, with what it has to hold."""
    for board in BOARDS:
        text = json.dumps(dashboard(board), indent=2, ensure_ascii=False) + "\n"
        yield MONITORING / "dashboards" / f"{board.uid}.json", text
    rules = yaml.safe_load((MONITORING / "rules.yaml").read_text())
    header = "# Made of rules.yaml by `python tools/dashboards.py`.\n"
    yield (
        MONITORING / "prometheusrule.yaml",
        header + yaml.safe_dump(prometheus_rule(rules), sort_keys=False, width=120),
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python tools/dashboards.py",
        description="Write Grafana's dashboards and the rules for Prometheus' operator.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    checking = parser.parse_args().check
    stale = [(path, text) for path, text in files() if not path.exists() or path.read_text() != text]
    for path, text in stale:
        if checking:
            print(f"error: {path.relative_to(MONITORING)} is stale: run `python tools/dashboards.py`", file=sys.stderr)
        else:
            path.write_text(text)
            print(f"wrote {path.relative_to(MONITORING)}")
    return 1 if checking and stale else 0


if __name__ == "__main__":
    sys.exit(main())
