"""What stands in kubernetes/monitoring: generated, complete, and about metrics that our code has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

import todo.backend.metrics
import todo.dapr.metrics
import todo.email_delivery.metrics
import todo.messaging.metrics
import todo.notification.metrics
import todo.service.metrics
from tests.support.queries import SCRAPED, uses
from tools import dashboards

ROOT = Path(__file__).parents[3]
MODULES = [
    todo.dapr.metrics,
    todo.messaging.metrics,
    todo.service.metrics,
    todo.backend.metrics,
    todo.notification.metrics,
    todo.email_delivery.metrics,
]
RULES = yaml.safe_load((dashboards.MONITORING / "rules.yaml").read_text())
OURS = {
    collector._name: collector
    for module in MODULES
    for collector in vars(module).values()
    if isinstance(collector, MetricWrapperBase)
}


def exposed(metric: MetricWrapperBase) -> set[str]:
    """The names of its samples."""
    name = metric._name
    match metric:
        case prometheus_client.Counter():
            return {f"{name}_total"}
        case prometheus_client.Histogram():
            return {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
        case _:
            return {name}


SAMPLES = {sample: metric for metric in OURS.values() for sample in exposed(metric)}


def rules() -> Iterator[dict[str, Any]]:
    for group in RULES["groups"]:
        yield from group["rules"]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()] + [
        one for board in dashboards.BOARDS for one in dashboards.expressions(board)
    ]


@pytest.mark.parametrize("path_and_text", [*dashboards.files()], ids=lambda one: one[0].name)
def test_generated_files_are_what_table_and_rules_say(path_and_text: tuple[Path, str]) -> None:
    """`python tools/dashboards.py` writes them."""
    path, text = path_and_text
    assert path.read_text() == text


def test_no_dashboard_is_left_over_and_each_is_loaded() -> None:
    names = {f"{board.uid}.json" for board in dashboards.BOARDS}
    assert {path.name for path in (dashboards.MONITORING / "dashboards").iterdir()} == names
    kustomization = yaml.safe_load((dashboards.MONITORING / "kustomization.yaml").read_text())
    assert {Path(one).name for one in kustomization["configMapGenerator"][0]["files"]} == names


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_of_ours_in_a_query_is_in_our_code_with_its_labels(expression: str) -> None:
    used = [use for use in uses(expression) if use.metric.startswith(("todo_", "event_"))]
    assert {use.metric for use in used} <= set(SAMPLES)
    for use in used:
        labels = {*SAMPLES[use.metric]._labelnames} | ({"le"} if use.metric.endswith("_bucket") else set())
        if len({one.metric for one in uses(expression)}) == 1:  # else a label may be another metric's
            assert use.labels <= labels


def test_a_query_with_another_name_or_label_is_found() -> None:
    """The check itself can fail."""
    (use,) = uses('sum by (app, route) (rate(todo_http_request_seconds_count{namespace="n", status="200"}[5m]))')
    assert use.metric == "todo_http_request_seconds_count"
    assert use.labels == {"route", "status"}
    assert [one.metric for one in uses("todo_no_such > 1 and up == 0 or namespace:todo_x:ratio > 1")] == [
        "todo_no_such",
        "up",
    ]


def test_a_legend_names_labels_that_its_query_keeps() -> None:
    for board in dashboards.BOARDS:
        for panel in board.panels:
            for legend, expression in panel.lines.items():
                kept = {label for use in uses(expression) for label in use.labels} | SCRAPED
                assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= kept, (board.uid, panel.title)


def test_every_alert_has_its_section_in_the_runbooks_and_every_section_an_alert() -> None:
    text = (ROOT / "docs" / "runbooks.md").read_text()
    sections = {title.lower() for title in re.findall(r"^## (Todo\w+)$", text, re.MULTILINE)}
    linked = {alert["annotations"]["runbook_url"] for alert in alerts()}
    assert linked == {f"docs/runbooks.md#{section}" for section in sections}
    for title in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        assert [part for part in ("**Means**", "**Look**", "**Do**") if part not in title] == []


def test_every_alert_says_what_it_is_and_how_bad() -> None:
    for alert in alerts():
        assert {*alert["annotations"]} == {"summary", "description", "runbook_url"}
        assert alert["labels"]["severity"] in {"warning", "critical"}


def test_the_table_of_metrics_in_the_docs_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    told = {
        name: tuple(filter(None, labels.split(", ")))
        for name, labels in re.findall(r"^\| `((?:todo|event)_\w+)(?:\{([\w, ]+)\})?` \|", text, re.MULTILINE)
    }
    ours = {
        f"{name}_total" if isinstance(one, prometheus_client.Counter) else name: tuple(one._labelnames)
        for name, one in OURS.items()
    }
    assert told == ours


def test_boards_are_importable_by_hand() -> None:
    """What Grafana wants of a file: an id that stays, a data source to choose, places that do not overlap."""
    for board in dashboards.BOARDS:
        written = json.loads((dashboards.MONITORING / "dashboards" / f"{board.uid}.json").read_text())
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in written["panels"]]
        assert len(places) == len(set(places))
        assert written["uid"] == board.uid
        assert [one["name"] for one in written["templating"]["list"]] == ["datasource", "namespace"]
