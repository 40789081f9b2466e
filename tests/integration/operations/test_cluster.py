"""What procedures ask of an API server, and what they say when it refuses, is away, or somebody was quicker."""

import asyncio
import base64
import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.apiserver import ApiServer, api_server
from tests.support.waiting import until
from todo.contracts import names
from todo.operations.cluster import Cluster, ClusterError, Fault, connected, lease
from todo.operations.cluster.notes import ROTATIONS, SWAP, Notes
from todo.operations.cluster.system import System
from todo.operations.cluster.visit import visited
from todo.operations.find import Place
from todo.operations.rotation.authority import RotationError
from todo.operations.rotation.kubernetes import KubernetesPlace
from todo.operations.swapping.kubernetes import APPLIED, KubernetesTarget
from todo.operations.swapping.target import SwapError

PODS = f"/api/v1/namespaces/{names.NAMESPACE}/pods"
SECRETS = f"/api/v1/namespaces/{names.NAMESPACE}/secrets"
CONFIGMAPS = f"/api/v1/namespaces/{names.NAMESPACE}/configmaps"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{names.NAMESPACE}/leases/{lease.NAME}"
COMPONENT = f"/apis/dapr.io/v1alpha1/namespaces/{names.NAMESPACE}/components/{names.PUBSUB}"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as found:
        yield found


@pytest.fixture
async def cluster(api: ApiServer) -> AsyncIterator[Cluster]:
    async with connected(kubeconfig=api.kubeconfig) as found:
        yield found


async def test_objects_are_read_made_changed_and_deleted(api: ApiServer, cluster: Cluster) -> None:
    assert await cluster.get("configmap", "x") is None
    made = await cluster.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}
    )
    assert (await cluster.patch("configmaps", "x", {"data": {"a": None, "b": "2"}}))["data"] == {"b": "2"}
    with pytest.raises(
        ClusterError, match=r"cannot update configmaps/x in namespace todo-phasev: .*modified"
    ) as refused:
        await cluster.replace({**made, "apiVersion": "v1", "kind": "ConfigMap"})
    assert refused.value.fault is Fault.CONFLICT
    await cluster.delete("configmap", "x")
    await cluster.delete("configmap", "x")
    assert CONFIGMAPS + "/x" not in api.objects


async def test_lists_are_read_to_their_end_and_by_label(api: ApiServer, cluster: Cluster) -> None:
    for number in range(5):
        api.put(f"{PODS}/p{number}", {"metadata": {"labels": {"app": "backend" if number else "other"}}})
    assert [one["metadata"]["name"] for one in await cluster.list("pods")] == ["p0", "p1", "p2", "p3", "p4"]
    assert len(await cluster.list("pod", labels={"app": "backend"})) == 4


async def test_what_an_account_may_not_is_named(api: ApiServer, cluster: Cluster) -> None:
    api.put(f"{SECRETS}/redis-secrets", {})
    api.forbidden = {("GET", "secrets")}
    with pytest.raises(
        ClusterError, match="may not get secrets/redis-secrets in namespace todo-phasev: its Role"
    ) as it:
        await cluster.get("secret", "redis-secrets")
    assert it.value.fault is Fault.FORBIDDEN


async def test_a_token_that_was_replaced_is_read_anew_and_one_that_is_wrong_is_told(
    api: ApiServer, cluster: Cluster
) -> None:
    api.tokens = {"second"}
    api.show(cluster.server, "second")
    assert await cluster.list("pods") == []
    api.tokens = {"third"}
    with pytest.raises(ClusterError, match="does not take our credentials"):
        await cluster.list("pods")


async def test_without_a_cluster_it_is_one_line(tmp_path: Path, api: ApiServer) -> None:
    with pytest.raises(ClusterError, match="give a kubeconfig") as setting:
        async with connected(kubeconfig=tmp_path / "none"):
            pass
    assert setting.value.fault is Fault.SETTING
    api.show("https://127.0.0.1:1", "first")
    with pytest.raises(ClusterError) as away:
        async with connected(kubeconfig=api.kubeconfig):
            pass
    assert away.value.fault is Fault.AWAY
    assert "\n" not in str(away.value)


async def test_a_command_gets_its_input_and_tells_its_code(api: ApiServer, cluster: Cluster) -> None:
    content = os.urandom(100_000).hex()
    assert await cluster.execute("p", "c", ["cat", "a b"], content) == (0, content, "cat a b")
    assert (await cluster.execute("p", "c", ["exit", "7"])).code == 7
    assert api.ran[0] == (["cat", "a b"], content.encode())


async def test_a_port_is_reached_by_many_at_once_and_let_go_while_in_use(api: ApiServer, cluster: Cluster) -> None:
    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 300_000)

    app = web.Application()
    app.router.add_get("/", large)
    server = TestServer(app)
    await server.start_server()
    api.echo = "127.0.0.1", server.port or 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(keepalive_timeout=600)) as http:
        async with asyncio.timeout(60), cluster.reach("p", 3500) as url:

            async def ask() -> int:
                async with http.get(url) as answer:
                    return len(await answer.read())

            assert await asyncio.gather(*(ask() for _ in range(40))) == [300_000] * 40
        # the connections are kept alive by the client, and end with the reach
        with pytest.raises(aiohttp.ClientError):
            await http.get(url)
        api.echo = None
        async with cluster.reach("gone", 3500) as url:
            with pytest.raises(aiohttp.ClientError):
                await http.get(url)
    await server.close()


async def test_a_lease_has_one_holder_at_a_time(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWED", 0.05)
    monkeypatch.setattr(lease, "LOOK", 0.05)
    async with lease.alone(cluster):
        with pytest.raises(ClusterError, match="another swap or rotation is under way") as other:
            async with lease.alone(cluster):
                pass
        assert other.value.fault is Fault.CONFLICT
    async with lease.alone(cluster):
        pass


async def test_a_holder_that_was_killed_is_waited_out(
    api: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "DURATION", 0.3)
    monkeypatch.setattr(lease, "LOOK", 0.05)
    api.put(LEASE, {"spec": {"holderIdentity": "a dead one", "renewTime": "2031-01-01T00:00:00.000000Z"}})
    began = asyncio.get_running_loop().time()
    async with lease.alone(cluster):
        assert asyncio.get_running_loop().time() - began >= 0.3
        assert "pid" in api.objects[LEASE]["spec"]["holderIdentity"]
    assert api.objects[LEASE]["spec"]["holderIdentity"] == ""


async def test_a_holder_that_cannot_renew_stops(
    api: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED", 0.05)
    monkeypatch.setattr(lease, "GIVEN_UP", 0.4)

    async def hold() -> None:
        async with lease.alone(cluster):
            begun = api.objects[LEASE]["spec"]["renewTime"]
            await until(lambda: api.objects[LEASE]["spec"]["renewTime"] != begun)
            api.forbidden = {("PATCH", "leases")}
            await asyncio.sleep(60)

    with pytest.raises(ClusterError, match="was not renewed for"):
        await hold()


async def test_a_holder_whose_lease_was_taken_stops_at_once(
    api: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it might go without a renewal: somebody else may be changing things already."""
    monkeypatch.setattr(lease, "RENEWED", 0.05)

    async def hold() -> None:
        async with lease.alone(cluster):
            api.put(LEASE, {"spec": {"holderIdentity": "somebody else"}})
            await asyncio.sleep(60)

    with pytest.raises(ClusterError, match="is lost: somebody else took it away"):
        await hold()
    assert api.objects[LEASE]["spec"]["holderIdentity"] == "somebody else"


async def test_what_was_noted_by_whoever_was_quicker_is_kept(api: ApiServer, cluster: Cluster) -> None:
    notes = Notes(cluster)
    assert await notes.read(SWAP) is None
    await notes.append(ROTATIONS, "one")
    place = f"{CONFIGMAPS}/todo-operations"

    def somebody_is_quicker(path: str) -> None:
        api.before_write = lambda _: None
        before = api.objects[path]["data"][ROTATIONS]
        api.put(path, {"data": {ROTATIONS: f"{before}two\n"}})

    api.before_write = somebody_is_quicker
    await notes.append(ROTATIONS, "three")
    assert await notes.read(ROTATIONS) == "one\ntwo\nthree\n"
    await notes.write(SWAP, "{}")
    await notes.write(SWAP, None)
    assert set(api.objects[place]["data"]) == {ROTATIONS}


def data(**values: str) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}}


async def test_both_logins_of_a_rotation_change_in_one_write(api: ApiServer, cluster: Cluster) -> None:
    api.put(f"{SECRETS}/redis-secrets", data(REDIS_PASSWORD="one", OTHER="kept"))
    calm: Any = None
    async with AsyncExitStack() as stack, aiohttp.ClientSession() as http:
        place = KubernetesPlace(System(cluster, stack), http, calm, "redis-secrets")
        first = {"REDIS_PASSWORD": "one", "OTHER": "kept"}
        assert await place.secrets() == {"redis-secrets": first}
        second = {"REDIS_PASSWORD": "two", "VERSION": "2"}
        await place.put({"redis-secrets.next": second})
        assert await place.secrets() == {"redis-secrets": first, "redis-secrets.next": second}
        writes = len(api.asked)
        await place.put({"redis-secrets": second, "redis-secrets.previous": first, "redis-secrets.next": None})
        assert [one.split()[0] for one in api.asked[writes:]] == ["GET", "PATCH"]
        assert await place.secrets() == {"redis-secrets": second, "redis-secrets.previous": first}

        def somebody_is_quicker(path: str) -> None:
            api.put(path, data(REDIS_PASSWORD="theirs"))

        api.before_write = somebody_is_quicker
        with pytest.raises(RotationError, match="modified"):
            await place.put({"redis-secrets.previous": None})


def component(kind: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    spec = {"type": kind, "version": "v1", "metadata": [{"name": "brokers", "value": "here"}]}
    return {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": names.PUBSUB},
        "spec": spec,
    } | more


async def test_a_component_takes_the_place_of_another_whole_and_kubectl_knows(
    api: ApiServer, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later `kubectl apply` finds out by the annotation what is gone."""
    old = component("pubsub.redis", auth={"secretStore": "kubernetes"}, scopes=["backend"])
    metadata = {"labels": {"a": "b"}, "annotations": {APPLIED: json.dumps(old), "mine": "too"}}
    api.put(COMPONENT, old | {"metadata": metadata})
    async with AsyncExitStack() as stack:
        target = KubernetesTarget(System(cluster, stack), Place("", "", None, None))
        here = await target.current()
        (tmp_path / "own.yaml").write_text(json.dumps(component("pubsub.kafka")))
        there = await target.side(str(tmp_path / "own.yaml"))
        await target.apply(there)
        live = api.objects[COMPONENT]
        assert "auth" not in live
        assert "scopes" not in live
        assert live["spec"]["type"] == "pubsub.kafka"
        assert live["metadata"]["labels"] == {"a": "b"}
        assert json.loads(live["metadata"]["annotations"][APPLIED])["spec"] == live["spec"]
        assert (await target.current()).component == there.component
        await target.apply(await target.restored(here.name, here.content))
        assert (await target.current()).component == here.component
        with pytest.raises(SwapError, match="use one of kafka, kafka-sasl, kafka-sasl-512, redis, a component file"):
            await target.side("rabbitmq")
        with pytest.raises(SwapError, match="setting redisPassword: there is no secret redis-secrets in namespace"):
            await target.side("redis")
        api.put(COMPONENT, component("pubsub.rabbitmq") | {"metadata": metadata})
        with pytest.raises(SwapError, match="changed by somebody else meanwhile"):
            await target.apply(there)
        assert api.objects[COMPONENT]["spec"]["type"] == "pubsub.rabbitmq"
        monkeypatch.delenv("DATABASE_URL", raising=False)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SwapError, match="run this in the operations pod"):
            async with target.database("backend"):
                pass


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("password: made up: again", "it is not YAML, line 1: mapping values are not allowed here"),
        ("kind: Secret", "it needs one document of kind Component"),
        ("kind: Component", "no apiVersion"),
        ("{kind: Component, apiVersion: dapr.io/v1alpha1, metadata: made up}", f"must be named {names.PUBSUB}"),
    ],
)
async def test_a_component_of_ones_own_that_is_none_is_refused_and_not_quoted(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, content: str, problem: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(content))
    async with AsyncExitStack() as stack:
        target = KubernetesTarget(System(cluster, stack), Place("", "", None, None))
        with pytest.raises(SwapError, match=problem) as error:
            await target.side("-")
    assert "made up" not in str(error.value)


async def test_a_visit_says_what_its_database_lacks(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        system = System(cluster, stack)

        async def place(_: object) -> Place:
            return Place("", "", None, None)

        monkeypatch.setattr(system, "place", place)
        with pytest.raises(ClusterError, match=r"DATABASE_URL_FILE: .*cannot be read"):
            await stack.enter_async_context(visited(system, {"DATABASE_URL_FILE": str(tmp_path / "dsn")}))


def pod(app: str, *, ip: str = "10.0.0.1", ending: bool = False, **state: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    gone = {"deletionTimestamp": "2031-01-01T00:00:00Z"} if ending else {}
    statuses = [{"name": "daprd", "restartCount": 0, "state": {"running": {}}} | state]
    status = {"phase": "Running", "podIP": ip, "containerStatuses": statuses}
    return {"metadata": {"labels": {"app": app}, **gone}, "status": status}


async def test_replicas_are_the_pods_whose_sidecar_ever_ran(api: ApiServer, cluster: Cluster) -> None:
    """One that crashes because of its component is asked on; one that was never there loads what it finds."""
    api.put(f"{PODS}/a", pod("backend"))
    api.put(f"{PODS}/b", pod("email-delivery", ending=True))
    api.put(f"{PODS}/c", pod("email-delivery", restartCount=2, state={"waiting": {"reason": "CrashLoopBackOff"}}))
    api.put(f"{PODS}/d", pod("email-delivery", state={"waiting": {"reason": "ContainerCreating"}}))
    api.put(f"{PODS}/e", pod("redis"))
    async with AsyncExitStack() as stack:
        found = await System(cluster, stack).replicas()
    assert [(one.pod, one.app.app_id, one.ending) for one in found] == [
        ("a", "backend", False), ("b", "email-delivery", True), ("c", "email-delivery", False),
    ]  # fmt: skip
    assert (found[0].service_url, found[0].metrics_url) == ("http://10.0.0.1:8000", "http://10.0.0.1:9090/metrics")
