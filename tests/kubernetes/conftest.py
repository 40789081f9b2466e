import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.conftest import seed, show
from tests.kubernetes.systems import Cluster, System, deployed
from tools.cluster.layout import INSIDE

__all__ = ["seed", "show"]

HOW = (
    "tests/kubernetes runs inside the cluster: `make test-kubernetes`, or tools/cluster.py run -- .venv/bin/pytest ..."
)


LONGEST = ("test_outages", "test_guide", "test_deploy", "test_operations", "test_cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A system needs a minute to get ready on two cores: the usual time limit is for less.

    What takes longest comes first, so that two workers end together.
    """
    here = Path(__file__).parent
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
    for item in items:
        if item.path.is_relative_to(here) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The running cluster; without it these tests fail, as a skipped one proves nothing."""
    run = os.environ.get(INSIDE)
    if run is None:
        pytest.fail(HOW)
    cluster = Cluster(Path(run) / "admin.kubeconfig")
    assert cluster.kubectl("get", "--raw=/readyz") == "ok"
    return cluster


@pytest.fixture(scope="module")
def system(cluster: Cluster) -> Iterator[Callable[..., System]]:
    """Deploy systems: `system("redis")` is ready, in a namespace of its own, until the module ends."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(deployed(cluster, *arguments, **options))
