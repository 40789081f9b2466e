"""Secrets of a file and of the environment."""

from tests.sidecars.world import ENVIRONMENT, VAULT, App, Client, World

WORLD = World(
    apps=[App("reader")],
    secrets={"smtp-password": "hush", "api-key": "quiet"},
    environment={"CONTRACT_SECRET": "from the environment", "CONTRACT_DENIED": "hush"},
    api_token="sidecar-token",
    secret_scopes=[{"storeName": ENVIRONMENT, "defaultAccess": "allow", "deniedSecrets": ["CONTRACT_DENIED"]}],
)


async def test_one_secret_is_read(sidecar: Client) -> None:
    """A secret is an object of its own name and value."""
    reply = await sidecar.get(f"/v1.0/secrets/{VAULT}/smtp-password")
    assert (reply.status, reply.json()) == (200, {"smtp-password": "hush"})


async def test_all_secrets_are_read(sidecar: Client) -> None:
    """Bulk gives every secret as an object of its values."""
    reply = await sidecar.get(f"/v1.0/secrets/{VAULT}/bulk")
    assert reply.status == 200
    assert reply.json() == {"smtp-password": {"smtp-password": "hush"}, "api-key": {"api-key": "quiet"}}


async def test_a_missing_secret_is_an_error(sidecar: Client) -> None:
    """A file that does not have the secret is 500."""
    reply = await sidecar.get(f"/v1.0/secrets/{VAULT}/nobody")
    assert (reply.status, reply.error) == (500, "ERR_SECRET_GET")


async def test_an_unknown_store_is_refused(sidecar: Client) -> None:
    """A store that no component names is 401."""
    for name in ("smtp-password", "bulk"):
        reply = await sidecar.get(f"/v1.0/secrets/nobody/{name}")
        assert (reply.status, reply.error) == (401, "ERR_SECRET_STORE_NOT_FOUND")


async def test_the_environment_is_a_store(sidecar: Client) -> None:
    """A variable of the sidecar's environment is a secret."""
    reply = await sidecar.get(f"/v1.0/secrets/{ENVIRONMENT}/CONTRACT_SECRET")
    assert (reply.status, reply.json()) == (200, {"CONTRACT_SECRET": "from the environment"})


async def test_the_sidecars_own_tokens_are_hidden(sidecar: Client) -> None:
    """The environment store does not give away what guards the sidecar."""
    reply = await sidecar.get(f"/v1.0/secrets/{ENVIRONMENT}/DAPR_API_TOKEN")
    assert b"sidecar-token" not in reply.body
    assert b"sidecar-token" not in (await sidecar.get(f"/v1.0/secrets/{ENVIRONMENT}/bulk")).body


async def test_a_scope_denies_a_secret(sidecar: Client) -> None:
    """What the Configuration denies is 403, and missing among all of them."""
    reply = await sidecar.get(f"/v1.0/secrets/{ENVIRONMENT}/CONTRACT_DENIED")
    assert (reply.status, reply.error) == (403, "ERR_PERMISSION_DENIED")
    everything = (await sidecar.get(f"/v1.0/secrets/{ENVIRONMENT}/bulk")).json()
    assert "CONTRACT_SECRET" in everything
    assert "CONTRACT_DENIED" not in everything
