"""The first invariant of the model, on real brokers: the history delivered again, backwards, changes nothing."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.engine.scenario import BROKERS, RECONCILE, EngineBench, engine_bench
from tests.faults.verdicts import Show, conclude, gather
from tests.faults.workload import plans, work
from todo.contracts import names
from todo.operations import topics

COUNT: Final = 80
SPAN: Final = 8.0
REST: Final = 90.0
PIECE: Final = 100  # events in one call
TOPICS: Final = sorted({topic for own in topics.consumed().values() for topic in own})


@pytest.mark.timeout(180)
@pytest.mark.parametrize("broker", BROKERS)
async def test_the_whole_history_again_and_backwards_changes_nothing(
    tmp_path: Path, broker: str, seed: int, show: Show
) -> None:
    """No task, no reminder's history and no mail is other than before, on whatever topic the event was."""
    async with engine_bench(tmp_path, broker) as running:
        await work(running.client, plans(seed, COUNT, span=SPAN))
        await running.quiet(REST, *RECONCILE)
        before = await gather(running)
        history = {topic: await running.outside.history(topic) for topic in TOPICS}
        for topic, events in history.items():
            await _publish_again(running, topic, [json.loads(event) for event in reversed(events)])
        await running.quiet(REST)  # without the jobs that would mend what an old event has done
        after = await gather(running)
        seen = {topic: f"{len(events)} events again" for topic, events in history.items() if events}
        await conclude(running, f"{broker}: the history again", show, excused=(), seen=seen)
        assert (after.tasks, after.histories, after.mails) == (before.tasks, before.histories, before.mails)
        assert all(history[topic] for own in names.APPS for topic in own.topics if topic != names.DEAD_LETTERS)


async def _publish_again(running: EngineBench, topic: str, events: list[dict[str, Any]]) -> None:
    path = f"/v1.0/publish/bulk/{names.PUBSUB}/{topic}"
    for start in range(0, len(events), PIECE):
        entries = [
            {"entryId": str(number), "event": event, "contentType": "application/cloudevents+json"}
            for number, event in enumerate(events[start : start + PIECE])
        ]
        status, said = await running.ask_sidecar(names.BACKEND.app_id, "POST", path, json=entries)
        assert status == 204, said
