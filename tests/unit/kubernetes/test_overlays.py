"""What can be said of the overlays' files as they are; tests/kubernetes/rendered reads them as kubectl renders them."""

from pathlib import Path

import pytest
import yaml

from todo.contracts import names
from todo.operations.engine.environments import COMPONENTS, ENVIRONMENTS

OVERLAYS = COMPONENTS.parent / "overlays"
ENVIRONMENT_OF = {"local-kafka": "kafka", "redis": "redis", "redpanda": "kafka-sasl", "msk": "kafka-sasl-512"}


@pytest.mark.parametrize("overlay", ENVIRONMENT_OF)
def test_each_has_a_copy_of_its_brokers_component(overlay: str) -> None:
    """Kustomize takes no single file from outside of an overlay's folder."""
    original = ENVIRONMENTS[ENVIRONMENT_OF[overlay]].path
    assert [one.name for one in (OVERLAYS / overlay).glob("pubsub-*")] == [original.name]
    assert (OVERLAYS / overlay / original.name).read_bytes() == original.read_bytes(), f"copy {original} there"


def test_every_overlay_is_an_environment() -> None:
    assert {one.name for one in OVERLAYS.iterdir()} == ENVIRONMENT_OF.keys()


def test_on_redis_there_are_connections_left_to_publish_on() -> None:
    """Each subscription keeps one waiting, and backend reads every dead-letter topic besides its own."""
    component = yaml.safe_load(Path(ENVIRONMENTS["redis"].path).read_text())
    settings = {one["name"]: one.get("value") for one in component["spec"]["metadata"]}
    most = len(names.BACKEND.topics) + len(names.dead_letter_topics())
    assert int(settings["poolSize"]) >= 2 * most
