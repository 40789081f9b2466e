"""Whatever fails in the demonstration is told as the step that is missing."""

from collections.abc import AsyncIterator

import pytest

from todo.dapr.client import Dapr
from todo.dapr.client import connect as connect_sidecar
from todo.operations import client, demo, ports
from todo.operations.client import Api, Mailbox
from todo.operations.demo import MissingError, _play, _Scene, _until
from todo.operations.find import Place


@pytest.fixture
def nowhere() -> str:
    return f"http://127.0.0.1:{ports.free(1)[0]}"


@pytest.fixture
async def dapr(nowhere: str) -> AsyncIterator[Dapr]:
    async with connect_sidecar(nowhere, "token") as dapr:
        yield dapr


class _Played(_Scene):
    async def play(self) -> None:
        """Everything went well."""


@pytest.mark.parametrize(
    ("kind", "missing"), [(_Scene, "POST /tasks of 'Test task 1': "), (_Played, "the agreement of all services: ")]
)
async def test_a_call_that_fails_is_the_missing_step(
    kind: type[_Scene], missing: str, nowhere: str, dapr: Dapr
) -> None:
    async with client.session() as http:
        scene = kind(lambda _: None, Api(http, nowhere), Mailbox(http, nowhere), dapr)
        told, report = await _play(scene, Place(nowhere, nowhere, "token", nowhere))
    assert told[0].startswith(missing)
    assert report is None


async def test_a_sidecar_that_does_not_answer_in_time_is_the_missing_step(
    monkeypatch: pytest.MonkeyPatch, dapr: Dapr
) -> None:
    monkeypatch.setattr(demo, "PATIENCE", 0.0)
    with pytest.raises(MissingError, match="the schedule: POST"):
        await _until("the schedule", lambda: dapr.invoke("notification-service", "tasks", b"{}"))


async def test_what_cannot_be_asked_now_is_asked_again(dapr: Dapr) -> None:
    asked = []

    async def ask() -> str | bytes:
        asked.append(1)
        return "there" if len(asked) > 1 else await dapr.invoke("notification-service", "tasks", b"{}")

    assert await _until("the schedule", ask) == "there"
