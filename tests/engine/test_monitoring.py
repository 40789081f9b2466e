"""Dashboards and rules against what really runs: promtool's rules, and the metrics of the real engine."""

import datetime as dt
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio
import yaml

from tests.engine.systems import on_dapr
from tests.integration.system.world import World, eventually
from tests.support.children import Recorder
from tests.support.queries import uses
from todo.contracts import names
from todo.operations.system import POSTGRES
from todo.operations.up import running_system
from tools import dashboards, promtool

RULES: Final = dashboards.MONITORING / "rules.yaml"
ALERTS: Final = [
    rule["alert"]
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]  # fmt: skip

# An hour of a system that is well, a sample each minute: `a+bxn` grows by b, `axn` stays.
_BACKEND, _NOTIFICATION, _EMAIL = (
    f'namespace="n", app="{one}"' for one in ("backend", "notification-service", "email-delivery")
)
_REQUEST: Final = f'todo_http_request_seconds_count{{{_BACKEND}, method="POST", route="/tasks", status='
_CONSUMED: Final = f'todo_events_consumed_total{{{_EMAIL}, topic="task-reminders"}}'
_AGE: Final = f'todo_event_age_seconds_bucket{{{_EMAIL}, topic="task-reminders", le='
_LATE: Final = f"todo_reminder_lateness_seconds_bucket{{{_NOTIFICATION}, le="
_MAIL: Final = f"todo_mail_lateness_seconds_bucket{{{_EMAIL}, le="
_WAIT: Final = f"todo_database_connection_wait_seconds_bucket{{{_BACKEND}, le="
_TICKS: Final = f"todo_job_ticks_total{{{_NOTIFICATION}, job_name="
WELL: Final = {
    f'up{{job="todo-services", instance="a:1", {_BACKEND}}}': "1x60",
    f'up{{job="todo-sidecars", instance="a:2", {_BACKEND}}}': "1x60",
    f'todo_outbox_oldest_seconds{{{_BACKEND}, pod="a"}}': "0.2x60",
    f'todo_relay_leading{{{_BACKEND}, pod="a"}}': "1x60",
    f'todo_relay_leading{{{_BACKEND}, pod="b"}}': "0x60",
    f"todo_relay_leading{{{_EMAIL}}}": "0x60",  # which has no outbox
    f"todo_dead_letters_open{{{_BACKEND}}}": "0x60",
    f'todo_events_published_total{{{_NOTIFICATION}, topic="task-reminders"}}': "0+60x60",
    _CONSUMED: "0+60x60",
    _AGE + '"10.0"}': "0+60x60",
    _AGE + '"300.0"}': "0+60x60",
    _AGE + '"+Inf"}': "0+60x60",
    f'todo_deliveries_total{{{_EMAIL}, topic="task-reminders", answer="done"}}': "0+60x60",
    f'todo_deliveries_total{{{_EMAIL}, topic="task-reminders", answer="put_off"}}': "0x60",
    _LATE + '"1.0"}': "0+60x60",
    _LATE + '"60.0"}': "0+60x60",
    _LATE + '"+Inf"}': "0+60x60",
    f"todo_reminders_oldest_due_seconds{{{_NOTIFICATION}}}": "0x60",
    _MAIL + '"5.0"}': "0+60x60",
    _MAIL + '"300.0"}': "0+60x60",
    _MAIL + '"+Inf"}': "0+60x60",
    f'todo_mails_total{{{_EMAIL}, outcome="delivered"}}': "0+60x60",
    f'todo_mails_total{{{_EMAIL}, outcome="deferred"}}': "0+1x60",
    f'todo_mails_total{{{_EMAIL}, outcome="failed"}}': "0+1x60",
    f"todo_mails_unrecorded_total{{{_EMAIL}}}": "0x60",
    _TICKS + '"check-due-tasks"}': "0+60x60",
    _TICKS + '"reconcile-tasks"}': "0x4 1x4 2x4 3x4 4x4 5x4 6x4 7x4 8x4 9x4 10x10",
    f'todo_job_failures_total{{{_NOTIFICATION}, job_name="check-due-tasks"}}': "0x60",
    f'dapr_http_healthprobes_completed_count{{{_BACKEND}, app_id="backend", status="200"}}': "0+60x60",
    _WAIT + '"0.005"}': "0+60x60",
    _WAIT + '"1.0"}': "0+60x60",
    _WAIT + '"+Inf"}': "0+60x60",
    f'todo_database_connections_busy{{{_BACKEND}, pod="a"}}': "3x60",
    f'todo_database_connections_limit{{{_BACKEND}, pod="a"}}': "12x60",
    f"todo_task_version_regressions_total{{{_NOTIFICATION}}}": "0x60",
    _REQUEST + '"201"}': "0+60x60",
    _REQUEST + '"503"}': "0x60",
    f'todo_requests_refused_total{{{_BACKEND}, problem="invalid-token"}}': "0+2x60",
    f'todo_requests_refused_total{{{_BACKEND}, problem="app-token-wrong"}}': "0x60",
}
# What goes wrong after half an hour, and all that fires after an hour.
WRONG: Final[Mapping[str, tuple[dict[str, str], set[str]]]] = {
    "nothing": ({}, set()),
    "broker away": (
        {f'todo_outbox_oldest_seconds{{{_BACKEND}, pod="a"}}': "0.2x29 0+60x30"},
        {"TodoOutboxOld", "TodoOutboxStuck"},
    ),
    "broker slow": ({f'todo_outbox_oldest_seconds{{{_BACKEND}, pod="a"}}': "0.2x29 100x30"}, {"TodoOutboxOld"}),
    "no leader": ({f'todo_relay_leading{{{_BACKEND}, pod="a"}}': "1x29 0x30"}, {"TodoRelayNotLeading"}),
    "the leader moved": (
        {
            f'todo_relay_leading{{{_BACKEND}, pod="a"}}': "1x29 0x30",
            f'todo_relay_leading{{{_BACKEND}, pod="b"}}': "0x29 1x30",
        },
        set(),
    ),
    "a letter": ({f"todo_dead_letters_open{{{_BACKEND}}}": "0x29 1x30"}, {"TodoDeadLettersWaiting"}),
    "a letter that was looked after": ({f"todo_dead_letters_open{{{_BACKEND}}}": "0x29 1x5 0x30"}, set()),
    "events old": ({_AGE + '"10.0"}': "0+60x29 1740x30"}, {"TodoConsumerLag"}),
    "a consumer gets nothing": ({_CONSUMED: "0+60x29 1740x30"}, {"TodoNothingConsumed"}),
    "nothing to consume": (
        {
            _CONSUMED: "0+60x29 1740x30",
            f'todo_events_published_total{{{_NOTIFICATION}, topic="task-reminders"}}': "0+60x29 1740x30",
        },
        set(),
    ),
    "deliveries put off": (
        {f'todo_deliveries_total{{{_EMAIL}, topic="task-reminders", answer="put_off"}}': "0x29 0+12x30"},
        {"TodoDeliveriesFailing"},
    ),
    "reminders late": ({_LATE + '"1.0"}': "0+60x29 1740x30"}, {"TodoRemindersLate"}),
    "schedule not looked at": (
        {f"todo_reminders_oldest_due_seconds{{{_NOTIFICATION}}}": "0x29 0+60x30"},
        {"TodoRemindersLate"},
    ),
    "mails late": ({_MAIL + '"5.0"}': "0+60x29 1740x30"}, {"TodoMailsLate"}),
    "mails deferred": (
        {f'todo_mails_total{{{_EMAIL}, outcome="deferred"}}': "0+1x29 30+60x30"},
        {"TodoMailsDeferred"},
    ),
    "mails refused": ({f'todo_mails_total{{{_EMAIL}, outcome="failed"}}': "0+1x29 30+10x30"}, {"TodoMailsFailed"}),
    "mails unrecorded": ({f"todo_mails_unrecorded_total{{{_EMAIL}}}": "0x50 1x10"}, {"TodoMailsUnrecorded"}),
    "no ticks": ({_TICKS + '"check-due-tasks"}': "0+60x29 1740x30"}, {"TodoJobNotTicking"}),
    "no ticks of a slow job": ({_TICKS + '"reconcile-tasks"}': "0x4 1x4 2x4 3x48"}, {"TodoJobNotTicking"}),
    "job failing": (
        {f'todo_job_failures_total{{{_NOTIFICATION}, job_name="check-due-tasks"}}': "0x29 0+60x30"},
        {"TodoJobFailing"},
    ),
    "service down": ({f'up{{job="todo-services", instance="a:1", {_BACKEND}}}': "1x29 0x30"}, {"TodoServiceDown"}),
    "sidecar down": ({f'up{{job="todo-sidecars", instance="a:2", {_BACKEND}}}': "1x29 0x30"}, {"TodoSidecarDown"}),
    "a pod without a sidecar": (
        {f'up{{job="todo-services", instance="b:1", {_BACKEND}}}': "_x29 1x30"},
        {"TodoSidecarMissing"},
    ),
    "no sidecar at all": (
        {f'up{{job="todo-services", instance="c:1", {_EMAIL}}}': "_x29 1x30"},
        {"TodoSidecarMissing"},
    ),
    "app unhealthy": (
        {f'dapr_http_healthprobes_completed_count{{{_BACKEND}, app_id="backend", status="503"}}': "_x29 0+60x30"},
        {"TodoAppUnhealthy"},
    ),
    "component failed": (
        {f'dapr_runtime_component_init_fail_total{{{_BACKEND}, component="pubsub.kafka"}}': "0x50 1x10"},
        {"TodoComponentFailed"},
    ),
    "pool full": (
        {f'todo_database_connections_busy{{{_BACKEND}, pod="a"}}': "3x29 12x30"},
        {"TodoDatabasePoolExhausted"},
    ),
    "waiting for the pool": ({_WAIT + '"0.005"}': "0+60x29 1740x30"}, {"TodoDatabasePoolExhausted"}),
    "backup restored": (
        {f"todo_task_version_regressions_total{{{_NOTIFICATION}}}": "0x50 4x10"},
        {"TodoBackendRestored"},
    ),
    "errors of the API": ({_REQUEST + '"503"}': "0x29 0+6x30"}, {"TodoApiErrors"}),
    "bad tokens": (
        {f'todo_requests_refused_total{{{_BACKEND}, problem="invalid-token"}}': "0+2x29 60+300x30"},
        {"TodoCallersRefused"},
    ),
    "app token wrong": (
        {f'todo_requests_refused_total{{{_BACKEND}, problem="app-token-wrong"}}': "0x29 0+12x30"},
        {"TodoSidecarRefused"},
    ),
}


def told_by_promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool.program(), *arguments], capture_output=True, text=True, check=False)


def case(name: str, changes: dict[str, str], firing: set[str]) -> dict[str, Any]:
    """One system's hour, as promtool takes it, and exactly what fires at its end."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in (WELL | changes).items()],
        "promql_expr_test": [
            {
                "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "59m",
                "exp_samples": [{"labels": f'{{alertname="{one}"}}', "value": 1} for one in sorted(firing)],
            }
        ],
    }


def test_each_alert_fires_when_it_should_and_nothing_else_does(tmp_path: Path) -> None:
    cases = [case(name, changes, firing) for name, (changes, firing) in WRONG.items()]
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    told = told_by_promtool("test", "rules", str(file))
    assert told.returncode == 0, told.stdout + told.stderr
    assert set().union(*(firing for _, firing in WRONG.values())) == set(ALERTS)


def test_a_rule_that_is_wrong_is_found(tmp_path: Path) -> None:
    """The cases can fail: a rule that asks the wrong metric, and one that is no PromQL."""
    cases = tmp_path / "cases.yaml"
    broken = tmp_path / "rules.yaml"
    broken.write_text(RULES.read_text().replace("todo_outbox_oldest_seconds) > 900", "todo_outbox_depth) > 900"))
    cases.write_text(yaml.safe_dump({"rule_files": [str(broken)], "tests": [case("a", *WRONG["broker away"])]}))
    assert told_by_promtool("test", "rules", str(cases)).returncode == 1
    broken.write_text(RULES.read_text().replace("> 900", "> > 900"))
    assert told_by_promtool("check", "rules", str(broken)).returncode == 1


def test_what_an_alert_says_is_written_out(tmp_path: Path) -> None:
    said = {
        "summary": "Nothing of backend has reached the broker for 29m 0s",
        "description": "The API goes on accepting; nothing is lost, and nobody is reminded.",
        "runbook_url": "docs/runbooks.md#todooutboxold",
    }
    labels = {"severity": "critical", "namespace": "n", "app": "backend"}
    alert = {
        "eval_time": "59m",
        "alertname": "TodoOutboxStuck",
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": said}],
    }
    one = case("a", *WRONG["broker away"]) | {"alert_rule_test": [alert]}
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [one]}))
    told = told_by_promtool("test", "rules", str(file))
    assert told.returncode == 0, told.stdout + told.stderr


def test_rules_scrape_jobs_and_every_query_of_a_board_are_valid(tmp_path: Path) -> None:
    told = told_by_promtool("check", "config", str(dashboards.MONITORING / "prometheus.yaml"))
    assert told.returncode == 0, told.stdout + told.stderr
    told = told_by_promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert told.returncode == 0, told.stdout + told.stderr
    queries = [
        one.replace("$__rate_interval", "5m") for board in dashboards.BOARDS for one in dashboards.expressions(board)
    ]
    rules = [{"record": f"query_{place}", "expr": query} for place, query in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "boards", "rules": rules}]}))
    told = told_by_promtool("check", "rules", str(file))
    assert told.returncode == 0, told.stdout + told.stderr


Seen = dict[str, set[str]]
_TYPE: Final = re.compile(r"# TYPE (\S+) (\w+)")
_SAMPLE: Final = re.compile(r"(\w+)(?:\{(.*)\})? ")


def sampled(text: str) -> Seen:
    """The names of all samples with their labels; what has no sample yet by the names that its samples would have."""
    found: Seen = {}
    for line in text.splitlines():
        if told := _TYPE.match(line):
            endings = ("_bucket", "_count", "_sum") if told[2] == "histogram" else ("",)
            for ending in endings:
                found.setdefault(told[1] + ending, set())
        elif sample := _SAMPLE.match(line):
            labels = re.findall(r'(\w+)="', sample[2] or "")
            found.setdefault(sample[1], set()).update(labels)
    return found


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    log = Recorder()
    async with running_system(on_dapr("redis"), log) as system, aiohttp.ClientSession() as http:
        yield World(system, http, log)


async def everything_happens(world: World) -> None:
    """The main job, a series, a letter from the sidecar, a component that cannot load, and a database that is away."""
    assert world.system.engine
    person = await world.person()
    await person.reached(await person.remind(0), "delivered")
    first = await person.add(due_at="2031-03-01T09:00:00Z", recurrence={"rule": "FREQ=WEEKLY"})
    await person.do(first, "complete")
    raw = {"metadata.rawPayload": "true"}
    await world.publish(names.TASK_REMINDERS, b"not JSON", "application/octet-stream", **raw)
    await world.letter(app=names.EMAIL_DELIVERY.app_id, topic=names.TASK_REMINDERS)
    broken = {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": "broken"},
        "spec": {
            "type": "secretstores.local.file",
            "version": "v1",
            "ignoreErrors": True,
            "metadata": [{"name": "secretsFile", "value": "/nowhere/secrets.json"}],
        },
    }
    (Path(world.system.engine.resources) / "broken.yaml").write_text(yaml.safe_dump(broken))
    later = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)).isoformat()
    await person.add(due_at=later, reminders=["PT0S"])
    await world.system.stop(POSTGRES)
    event = {"specversion": "1.0", "id": "1", "source": "test", "type": "x", "data": {}}
    await world.publish_event(names.TASK_OCCURRENCES, event)  # which backend cannot take now


async def test_every_metric_and_label_in_boards_and_rules_is_one_that_a_real_system_has(world: World) -> None:
    """Counters of Dapr's are there once the thing has happened: so it happens."""
    assert world.system.engine
    places = [world.service(app.app_id, "/metrics") for app in names.APPS]
    places += [sidecar.metrics_url for sidecar in world.system.engine.sidecars]
    queries = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    queries += [one for board in dashboards.BOARDS for one in dashboards.expressions(board)]
    wanted = {use for query in queries for use in uses(query) if use.metric != "up"}
    await everything_happens(world)

    async def missing() -> list[str]:
        seen: Seen = {}
        for place in places:
            for name, labels in sampled((await world.ask("GET", place)).body).items():
                seen.setdefault(name, set()).update(labels)
        return sorted(
            f"{use.metric}: {', '.join(sorted(use.labels - seen.get(use.metric, set()))) or 'not there'}"
            for use in wanted
            if use.metric not in seen or (use.metric.startswith("dapr_") and not use.labels <= seen[use.metric])
        )

    async def all_there() -> bool:
        return not await missing()

    try:
        await eventually(all_there, 30)
    except AssertionError:
        pytest.fail("\n".join(["no real system has:", *await missing()]))
