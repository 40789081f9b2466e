"""Which system a command is about: the one on this host, or the one on Kubernetes."""

from pathlib import Path

import pytest

from todo.operations import datafolder
from todo.operations.cluster import system
from todo.operations.cluster.system import is_meant

URL = "http://127.0.0.1:8000"
ON_A_HOST = {"inside": False, "runs": False}
IN_A_POD = {"inside": True, "runs": False}
OF_ITS_OWN = {"inside": True, "runs": True}  # a system in a pod, for itself


@pytest.mark.parametrize(
    ("where", "asked", "api", "meant"),
    [
        (ON_A_HOST, False, None, False),
        (ON_A_HOST, True, None, True),
        (IN_A_POD, False, None, True),
        (IN_A_POD, False, URL, False),
        (IN_A_POD, True, URL, True),
        (OF_ITS_OWN, False, None, False),
    ],
)
def test_a_pod_with_an_account_means_its_cluster_unless_something_else_is_said(
    where: dict[str, bool], asked: bool, api: str | None, meant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "is_inside", lambda: where["inside"])
    monkeypatch.setattr(datafolder, "running_system", lambda _: object() if where["runs"] else None)
    assert is_meant(asked=asked, data=Path("data"), api=api) is meant
