"""The token of the sidecar, which callers must show, and the token of the app, which the sidecar shows."""

import pytest

from tests.sidecars.recording import RecordingApp
from tests.sidecars.world import BUS, STORE, App, Client, World

TOPIC = "tokens.things"
WORLD = World(
    apps=[App("guarded", [{"pubsubname": BUS, "topic": TOPIC, "route": "/things"}])],
    api_token="sidecar-token",
    app_token="app-token",
)
GUARDED = [
    ("POST", f"/v1.0/publish/{BUS}/{TOPIC}"),
    ("POST", f"/v1.0/publish/bulk/{BUS}/{TOPIC}"),
    ("GET", f"/v1.0/state/{STORE}/key"),
    ("POST", f"/v1.0/state/{STORE}"),
    ("POST", "/v1.0/invoke/guarded/method/things"),
    ("GET", "/v1.0/metadata"),
    ("POST", "/v1.0/shutdown"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("token", [None, "wrong", "sidecar-token-and-more", "app-token"])
async def test_a_call_without_the_token_is_refused(sidecar: Client, method: str, path: str, token: str | None) -> None:
    """Everything but health is 401 without the right token."""
    reply = await sidecar.call(method, path, headers={"dapr-api-token": token or ""})
    assert reply.status == 401
    assert b"invalid api token" in reply.body.lower()


async def test_the_token_opens(sidecar: Client) -> None:
    """With it the API works."""
    assert (await sidecar.get("/v1.0/metadata")).status == 200


async def test_health_needs_no_token(sidecar: Client) -> None:
    """Probes have no secrets."""
    for path in ("/v1.0/healthz", "/v1.0/healthz/outbound"):
        assert (await sidecar.get(path, headers={"dapr-api-token": ""})).status == 204


async def test_the_app_is_shown_its_token(app: RecordingApp, sidecar: Client) -> None:
    """Deliveries and invocations carry the app's token, and never the sidecar's."""
    await sidecar.publish(TOPIC, {})
    (delivery,) = await app.received("/things")
    await sidecar.post("/v1.0/invoke/guarded/method/invoked", {})
    (call,) = await app.received("/invoked")
    assert delivery.headers["dapr-api-token"] == call.headers["dapr-api-token"] == "app-token"


async def test_a_refused_publish_publishes_nothing(app: RecordingApp, sidecar: Client) -> None:
    """401 comes before any effect."""
    before = len(app.seen("/things"))
    refused = await sidecar.publish(TOPIC, {"refused": True}, headers={"dapr-api-token": "wrong"})
    assert refused.status == 401
    await sidecar.publish(TOPIC, {"refused": False})
    deliveries = await app.received("/things", before + 1)
    assert [delivery.json()["data"] for delivery in deliveries[before:]] == [{"refused": False}]
