"""Traces on the real engine: from the request to the mail, through services and sidecars, in one piece."""

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Final

import aiohttp
import pytest
import pytest_asyncio

from tests.engine.systems import PLAIN, on_dapr
from tests.integration.system.world import Json, World, all_of, eventually, from_now
from tests.support.children import Recorder
from tests.support.collector import ROOT, Collector, Span, collecting
from todo.contracts import names
from todo.operations.up import UpOptions, running_system

TITLE: Final = "Pay the rent of the attic"
CALLER: Final = "ab" * 8  # the span of whoever asks, which is not ours to export
WAY: Final = [
    ("backend", "POST /tasks"),
    ("backend", "create task-events"),
    ("notification-service", "pubsub/task-events"),
    ("notification-service", "process task-events"),
    ("notification-service", "create task-reminders"),
    ("email-delivery", "pubsub/task-reminders"),
    ("email-delivery", "process task-reminders"),
    ("email-delivery", "send mail"),
]
OURS: Final = [(service, name) for service, name in WAY if not name.startswith("pubsub/")]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(collector: Collector) -> AsyncIterator[World]:
    log = Recorder()
    asked = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=todo",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    options = on_dapr("redis", environ=PLAIN | asked)
    async with running_system(options, log) as system, aiohttp.ClientSession() as http:
        yield World(system, http, log)


async def remind(world: World, trace: str, flags: str) -> tuple[Json, str]:
    """Ask for a mail now, as part of a trace, and wait until its delivery is known; the task and the address."""
    person = await world.person("ada")
    body = {"title": TITLE, "user_id": person.id, "due_at": from_now(0).isoformat(), "reminders": ["PT0S"]}
    headers = {"traceparent": f"00-{trace}-{CALLER}-{flags}"}
    task = (await world.ask("POST", "/tasks", json=body, headers=headers)).body
    await person.reached(task, "delivered")
    await person.attempts(task)
    return task, person.email


async def whole(collector: Collector, trace: str) -> dict[str, Span]:
    """The trace, once the last that is expected of it has come."""
    ends = {(app.app_id, f"process {names.REMINDER_DELIVERIES}") for app in (names.BACKEND, names.NOTIFICATION)} | {
        (names.EMAIL_DELIVERY.app_id, f"pubsub/{names.TASK_REMINDERS}")
    }

    async def look() -> dict[str, Span]:
        spans = collector.of(trace)
        there = {(span.service, span.name) for span in spans.values()}
        return spans if ends <= there and not dangling(spans) else {}

    try:
        return await eventually(look)
    except AssertionError:
        told = "\n".join(f"  {one.service} {one.name} {one.id} <- {one.parent}" for one in collector.of(trace).values())
        pytest.fail(f"the trace is not whole:\n{told}")


def dangling(spans: dict[str, Span]) -> list[Span]:
    """Those whose parent was not exported."""
    return [span for span in spans.values() if span.parent not in {ROOT, CALLER, *spans}]


def path(spans: dict[str, Span], last: Span) -> list[tuple[str, str]]:
    """The way to a span, from the caller's."""
    steps = [last]
    while steps[-1].parent in spans:
        steps.append(spans[steps[-1].parent])
    return [(step.service, step.name) for step in reversed(steps)]


async def test_one_trace_runs_through_services_and_sidecars_from_the_request_to_the_mail(
    world: World, collector: Collector
) -> None:
    trace = secrets.token_hex(16)
    await remind(world, trace, "01")
    spans = await whole(collector, trace)
    (mail,) = [span for span in spans.values() if span.name == "send mail"]
    assert path(spans, mail) == WAY
    assert [span.parent for span in spans.values() if span.name == "POST /tasks"] == [CALLER]
    # the sidecars that publish, and those that call backend, are on it too
    sidecars = {(span.service, span.name) for span in spans.values() if span.name.startswith("/v1.0/")}
    publish = f"/v1.0/publish/bulk/{names.PUBSUB}"
    assert sidecars >= {
        ("backend", f"{publish}/task-events"),
        ("notification-service", f"{publish}/task-reminders"),
        ("email-delivery", f"{publish}/reminder-deliveries"),
    }
    (sent,) = [span for span in spans.values() if span.name == "send task-events"]
    (created,) = [span for span in spans.values() if span.name == "create task-events"]
    assert created.id in sent.linked
    assert {"x-tenant": "todo"}.items() <= {key.lower(): value for key, value in collector.headers[-1].items()}.items()


async def test_traces_that_share_deliveries_and_calls_stay_apart(world: World, collector: Collector) -> None:
    traces = [secrets.token_hex(16) for _ in range(12)]
    await all_of(*(remind(world, trace, "01") for trace in traces))
    for trace in traces:
        spans = await whole(collector, trace)
        (mail,) = [span for span in spans.values() if span.name == "send mail"]
        # the sidecar names its span of the last event of a delivery only: the others are beside theirs
        assert [step for step in path(spans, mail) if not step[1].startswith("pubsub/")] == OURS


async def test_no_address_title_or_token_is_in_a_span(world: World, collector: Collector) -> None:
    trace = secrets.token_hex(16)
    _, address = await remind(world, trace, "01")
    assert await whole(collector, trace)
    data = world.system.data
    private = [address, "@", TITLE, data.api_token, *(data.app_token(app.app_id) for app in names.APPS)]
    told = "".join(collector.texts)
    assert [one for one in private if one in told] == []


async def test_what_its_caller_does_not_want_sampled_is_not(world: World, collector: Collector) -> None:
    unwanted, wanted = secrets.token_hex(16), secrets.token_hex(16)
    await remind(world, unwanted, "00")
    await remind(world, wanted, "01")  # exported in order: when this is there, the other would be
    assert await whole(collector, wanted)
    assert collector.of(unwanted) == {}


async def test_on_daprlet_which_exports_nothing_the_services_spans_are_one_trace_too(collector: Collector) -> None:
    trace = secrets.token_hex(16)
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    options = UpOptions(temporary=True, free_ports=True, durable=False, environ=PLAIN | asked, log_format="json")
    async with running_system(options) as system, aiohttp.ClientSession() as http:
        await remind(World(system, http, Recorder()), trace, "01")
    spans = collector.of(trace)
    (mail,) = [span for span in spans.values() if span.name == "send mail"]
    assert path(spans, mail) == OURS
    assert dangling(spans) == []
