"""`todo topics --secrets` in a pod: a folder of mounted Secrets in the place of a file."""

from pathlib import Path

import pytest

from todo.operations.engine import resources
from todo.operations.engine.environments import ENVIRONMENTS
from todo.operations.engine.resources import ResourceError

REDIS = ENVIRONMENTS["redis"].path


def mount(folder: Path, secret: str, **values: str) -> None:
    """As kubelet does it: keys are links into a folder that is exchanged as a whole."""
    (version := folder / secret / "..2026_01_01").mkdir(parents=True)
    (folder / secret / "..data").symlink_to(version.name)
    for key, value in values.items():
        (version / key).write_text(value)
        (folder / secret / key).symlink_to(f"..data/{key}")


def test_keys_are_files_below_their_secret(tmp_path: Path) -> None:
    mount(tmp_path, "redis-secrets", REDIS_PASSWORD="made up")
    mount(tmp_path, "smtp-secrets", SMTP_URL="smtp://localhost")
    assert resources.resolved(resources.read(REDIS), tmp_path)["redisPassword"] == "made up"


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    mount(tmp_path, "redis-secrets", PASSWORD="made up")
    with pytest.raises(ResourceError, match="no key REDIS_PASSWORD in secret redis-secrets"):
        resources.resolved(resources.read(REDIS), tmp_path)
