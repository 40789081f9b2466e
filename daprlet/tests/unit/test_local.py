"""The files of the repository's own embedded run."""

from pathlib import Path

import pytest

from daprlet import runfile
from daprlet.resources import load
from daprlet.settings import AppSettings

LOCAL = Path(__file__).parents[3] / "local"
APPS = runfile.load(LOCAL / "dapr.yaml", {})


@pytest.fixture(autouse=True)
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secrets.json").write_text('{"smtp": {"password": "x"}}')
    monkeypatch.setenv("TODO_SECRETS_FILE", str(tmp_path / "secrets.json"))
    monkeypatch.delenv("NAMESPACE", raising=False)


@pytest.mark.parametrize("app", APPS, ids=lambda app: str(app.app_id))
def test_every_app_can_start(app: AppSettings) -> None:
    """Its resources are right, it sees the broker and the secrets, and its health is probed."""
    resources = load(app.app_id, app.resources, app.configuration)
    assert set(resources.pubsubs) == {"pubsub-kafka"}
    assert resources.secret_stores["kubernetes"].get("smtp") == {"password": "x"}
    assert app.health_check is not None
    assert app.health_check.path == "/healthz/consume"


@pytest.mark.parametrize("app", APPS, ids=lambda app: str(app.app_id))
def test_deliveries_are_retried_for_half_an_hour(app: AppSettings) -> None:
    """Before they become dead letters, even when the app fails at once each time."""
    delays = list(load(app.app_id, app.resources).policies.inbound("pubsub-kafka").retry.delays())
    assert 1800 <= sum(delays) <= 3600
