"""Every environment, as the API server reads it: strictly, with Dapr's CRDs."""

from collections.abc import Iterator

import pytest

from tests.kubernetes.systems import NAMESPACE, OVERLAYS, ROOT, Cluster

ENVIRONMENTS = ("local-kafka", "redis", "redpanda", "msk")
STRICTLY = ("apply", "--dry-run=server", "--validate=strict", "--filename=-")


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """One that warns of pods below the pod security level `restricted`, as ours does."""
    with cluster.namespace("manifests") as name:
        ours = (ROOT / "kubernetes/base/namespace.yaml").read_text()
        cluster.kubectl("apply", "--filename=-", given=ours.replace(NAMESPACE, name))
        yield name


def rendered(cluster: Cluster, environment: str, namespace: str) -> str:
    return cluster.kubectl("kustomize", str(OVERLAYS / environment)).replace(NAMESPACE, namespace)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_api_server_takes_all_of_it_without_a_warning(cluster: Cluster, namespace: str, environment: str) -> None:
    done = cluster.attempt(*STRICTLY, given=rendered(cluster, environment, namespace))
    assert (done.returncode, done.stderr) == (0, "")
    assert "component.dapr.io/pubsub-kafka created" in done.stdout
    assert "networkpolicy.networking.k8s.io/default-deny created" in done.stdout


@pytest.mark.parametrize(
    ("said", "misread", "complaint"),
    [
        ("maxReplicas: 4", "maxReplica: 4", 'unknown field "spec.maxReplica"'),
        ("storeName: kubernetes", "store: kubernetes", 'unknown field "spec.secrets.scopes[0].store"'),
        ("drop:\n            - ALL", "drop:\n            - NET_RAW", "would violate PodSecurity"),
    ],
)
def test_it_would_complain(cluster: Cluster, namespace: str, said: str, misread: str, complaint: str) -> None:
    """Of a field that does not exist, in its own kinds and in Dapr's, and of a pod that may do more than it has to."""
    manifests = rendered(cluster, "redis", namespace)
    assert said in manifests
    assert complaint in cluster.attempt(*STRICTLY, given=manifests.replace(said, misread)).stderr
