"""Service invocation: one app calls another through its own sidecar."""

from uuid import uuid4

import pytest

from tests.sidecars.recording import Answer, RecordingApp
from tests.sidecars.world import App, Running, World

WORLD = World(apps=[App("caller"), App("callee")])


@pytest.fixture
def callee(world: Running) -> RecordingApp:
    return world.app("callee")


@pytest.fixture
def path() -> str:
    return f"/v1/{uuid4().hex}/things"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_call_arrives_as_it_was_made(world: Running, callee: RecordingApp, path: str, method: str) -> None:
    """Method, path, query, headers and body reach the other app."""
    reply = await world.sidecar("caller").call(
        method,
        f"/v1.0/invoke/callee/method{path}",
        None if method in ("GET", "DELETE") else b"\x00bytes",
        query={"a": "1", "b": "x y"},
        headers={"x-mine": "kept", "Content-Type": "application/x-thing"},
    )
    assert reply.status == 200
    (call,) = await callee.received(path)
    assert (call.method, call.query) == (method, {"a": "1", "b": "x y"})
    assert call.headers["x-mine"] == "kept"
    if method not in ("GET", "DELETE"):
        assert (call.body, call.headers["content-type"]) == (b"\x00bytes", "application/x-thing")


@pytest.mark.parametrize("status", [200, 201, 204, 400, 401, 404, 409, 422, 500, 503])
async def test_the_answer_comes_back_as_it_was_given(
    world: Running, callee: RecordingApp, path: str, status: int
) -> None:
    """Status, headers and body of the other app are the caller's answer, failures too, and nothing is repeated."""
    body = b"" if status == 204 else b'{"status": "RETRY"}'
    callee.answers(path, Answer(status, body, {"x-theirs": "kept", "Content-Type": "application/json"}))
    reply = await world.sidecar("caller").post(f"/v1.0/invoke/callee/method{path}", {"n": 1})
    assert (reply.status, reply.body, reply.headers["x-theirs"]) == (status, body, "kept")
    assert len(callee.seen(path)) == 1


async def test_an_app_can_call_itself(world: Running, path: str) -> None:
    """The own app is an app like others."""
    reply = await world.sidecar("callee").post(f"/v1.0/invoke/callee/method{path}", {})
    assert reply.status == 200
    assert len(world.app("callee").seen(path)) == 1


async def test_the_app_can_be_named_in_a_header(world: Running, callee: RecordingApp, path: str) -> None:
    """With `dapr-app-id` the address is the other app's own."""
    reply = await world.sidecar("caller").post(path, {}, headers={"dapr-app-id": "callee"})
    assert reply.status == 200
    assert len(callee.seen(path)) == 1


async def test_an_unknown_app_is_an_error(world: Running) -> None:
    """An app that nobody runs is 500."""
    reply = await world.sidecar("caller").get("/v1.0/invoke/nobody/method/things")
    assert (reply.status, reply.error) == (500, "ERR_DIRECT_INVOKE")


async def test_the_trace_goes_on(world: Running, callee: RecordingApp, path: str) -> None:
    """The trace of the caller is on the call."""
    trace = uuid4().hex
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    await world.sidecar("caller").post(f"/v1.0/invoke/callee/method{path}", {}, headers=headers)
    (call,) = await callee.received(path)
    assert call.headers["traceparent"].split("-")[1] == trace
