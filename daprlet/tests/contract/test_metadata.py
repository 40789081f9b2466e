"""What a sidecar tells about itself, and its health."""

from typing import Any

from tests.sidecars.recording import eventually
from tests.sidecars.world import BUS, ENVIRONMENT, PLAIN, STORE, VAULT, App, Client, Running, World

RULES = {"rules": [{"match": 'event.type == "t"', "path": "/t"}], "default": "/things"}
WORLD = World(
    apps=[
        App(
            "self-aware",
            [
                {"pubsubname": BUS, "topic": "metadata.a", "route": "/a", "deadLetterTopic": "dead.metadata.a"},
                {"pubsubname": BUS, "topic": "metadata.b", "routes": RULES},
            ],
        )
    ]
)


async def test_it_tells_its_name_and_version(sidecar: Client) -> None:
    """The id is the app's; there is a version."""
    told = (await sidecar.get("/v1.0/metadata")).json()
    assert told["id"] == "self-aware"
    assert told["runtimeVersion"]


async def test_it_tells_its_components(sidecar: Client) -> None:
    """Each component is named with type and version."""
    told = (await sidecar.get("/v1.0/metadata")).json()
    components = {component["name"]: component for component in told["components"]}
    assert {BUS, PLAIN, STORE, VAULT, ENVIRONMENT} <= components.keys()
    assert components[BUS]["type"].startswith("pubsub.")
    assert components[STORE]["type"] == "state.sqlite"
    assert components[VAULT]["version"] == "v1"
    assert "ETAG" in components[STORE]["capabilities"]


async def test_it_tells_its_subscriptions(sidecar: Client) -> None:
    """Each subscription is named with its rules and dead-letter topic."""

    async def subscriptions() -> dict[str, Any]:
        told = (await sidecar.get("/v1.0/metadata")).json()
        found = {subscription["topic"]: subscription for subscription in told["subscriptions"]}
        return found if found.keys() >= {"metadata.a", "metadata.b"} else {}

    found = await eventually(subscriptions)
    first, second = found["metadata.a"], found["metadata.b"]
    assert (first["pubsubname"], first["deadLetterTopic"], first["type"]) == (BUS, "dead.metadata.a", "PROGRAMMATIC")
    assert [rule["path"] for rule in first["rules"]] == ["/a"]
    assert [(rule.get("match", ""), rule["path"]) for rule in second["rules"]] == [
        ('event.type == "t"', "/t"),
        ("", "/things"),
    ]


async def test_it_tells_its_app(world: Running, sidecar: Client) -> None:
    """Where the app is and how it is spoken to."""
    told = (await sidecar.get("/v1.0/metadata")).json()["appConnectionProperties"]
    assert (told["port"], told["protocol"], told["channelAddress"]) == (world.recording[0].port, "http", "127.0.0.1")


async def test_a_note_can_be_left(sidecar: Client) -> None:
    """PUT adds an attribute of one's own."""
    assert (await sidecar.call("PUT", "/v1.0/metadata/note", b"hello")).status == 204
    assert (await sidecar.get("/v1.0/metadata")).json()["extended"]["note"] == "hello"


async def test_it_is_healthy(sidecar: Client) -> None:
    """Both probes are 204 once everything runs; the id can be asked for."""
    for path in ("/v1.0/healthz", "/v1.0/healthz/outbound"):
        assert (await sidecar.get(path)).status == 204
    assert (await sidecar.get("/v1.0/healthz", query={"appid": "self-aware"})).status == 204
    assert (await sidecar.get("/v1.0/healthz", query={"appid": "someone-else"})).status == 500


async def test_an_unknown_address_is_not_found(sidecar: Client) -> None:
    """What the API does not have is 404."""
    for path in ("/v1.0-alpha1/healthz", "/v1.0/nothing", "/"):
        assert (await sidecar.get(path)).status == 404
