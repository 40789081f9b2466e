import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.systems import Cluster, NotReadyError, System
from todo.operations.engine import binaries
from tools.cluster import build, cgroups, containers, images, layout, main, namespaces
from tools.cluster.images_store import Store

TUNED = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
POD = """
apiVersion: v1
kind: Pod
metadata: {name: trial}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: memory, emptyDir: {medium: Memory}}]
  containers:
    - {name: pause, image: "localhost/pause:1", volumeMounts: [{name: memory, mountPath: /memory}]}
"""


@pytest.fixture
def second_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache whose cluster is nobody else's: what was built is lent to it, and it loads the fewest images."""
    lent = binaries.cache()
    own = Path(tempfile.mkdtemp(prefix="todo-"))  # short: there are sockets below
    (own / "cluster").mkdir(parents=True)
    for thing in [*lent.iterdir(), *(lent / "cluster").iterdir()]:
        if thing.name not in {"cluster", "run", "containerd", "lock"}:
            (own / thing.relative_to(lent)).symlink_to(thing)
    monkeypatch.setenv("TODO_ENGINE_CACHE", str(own))
    monkeypatch.setattr(images, "ensure", fewest_images)
    yield own
    shutil.rmtree(own)


def fewest_images(cache: Path, bins: Path) -> list[Path]:
    with Store.opened(cache / "images") as store:
        return [store.archive(image) for image in (*images.dapr(bins), images.pause())]


def test_down_leaves_nothing_behind(second_cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A stopped cluster has left no process, mount, cgroup, folder of its run or changed setting of the kernel.

    The same traces are all seen while it runs. Killed in the middle it leaves no more, and what ran in it is not there
    when it comes up again, but for its images.
    """
    before = of_the_machine()
    with running():
        inside("kubectl", "apply", "--filename=-", given=POD)
        inside("kubectl", "wait", "--for=condition=Ready", "pod/trial", "--timeout=60s")
        assert all(traces(second_cache).values()), "each kind of trace can be seen"
        assert containers_of("trial")
        pid = namespaces.first_process()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    assert not any(traces(second_cache).values()), traces(second_cache)
    assert of_the_machine() == before
    capfd.readouterr()
    with running():
        assert "loaded" not in capfd.readouterr().out, "images are kept"
        assert not containers_of("trial")
        begun = namespaces.first_process()
        main.up()
        assert namespaces.first_process() == begun, "up is done already"
    assert not any(traces(second_cache).values()), traces(second_cache)
    assert of_the_machine() == before


@contextlib.contextmanager
def running() -> Iterator[None]:
    try:
        main.up()
        yield
    finally:
        main.down(everything=False)


def containers_of(pod: str) -> str:
    return inside(*containers.CTR, "containers", "list", "--quiet", f'labels."io.kubernetes.pod.name"=={pod}')


def inside(*command: str, given: str = "") -> str:
    done = subprocess.run(
        namespaces.enter(command),
        env=main.environment(),
        input=given,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def traces(cache: Path) -> dict[str, list[str]]:
    """What is there of the cluster of this cache, kind by kind."""
    name = str(cache)
    return {
        "processes": [process.name for process in processes() if mentions(process / "cmdline", name)],
        "mounts": [process.name for process in processes() if mentions(process / "mountinfo", name)],
        "cgroups": [str(found) for top in cgroups.hierarchies() for found in top.glob(layout.cgroup())],
        "folders": [str(found) for found in [layout.run_folder()] if found.exists()],
    }


def processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.name != str(os.getpid())]


def mentions(file: Path, name: str) -> bool:
    try:
        return name in file.read_text(errors="replace")
    except OSError:
        return False  # it has just ended


def of_the_machine() -> dict[str, object]:
    """What the cluster must not touch outside its namespaces."""
    return {
        "settings": {name: Path("/proc/sys", name).read_text() for name in TUNED},
        "folders": [(folder, Path(folder).exists()) for folder in ("/run/containerd", "/run/netns", "/var/lib/cni")],
    }


def test_namespace_is_gone_afterwards(cluster: Cluster) -> None:
    """What a test made on the cluster goes with its namespace."""
    with cluster.namespace("trial") as name:
        cluster.kubectl("-n", name, "create", "configmap", "thing")
        assert cluster.get("-n", name, "configmap", "thing")["metadata"]["name"] == "thing"
    assert cluster.attempt("get", "namespace", name).returncode != 0


def test_a_replaced_pod_of_the_scheduler_is_let_in_again(cluster: Cluster) -> None:
    """Dapr's Scheduler keeps its log across its pods, as it does on a cluster with volumes."""
    pod = "dapr-scheduler-server-1"
    first = cluster.get("-n", "dapr-system", "pod", pod)["metadata"]["uid"]
    cluster.kubectl("-n", "dapr-system", "delete", "pod", pod)
    cluster.kubectl("-n", "dapr-system", "rollout", "status", "statefulset/dapr-scheduler-server", "--timeout=90s")
    assert cluster.get("-n", "dapr-system", "pod", pod)["metadata"]["uid"] != first


def test_a_system_that_does_not_get_ready_says_why(cluster: Cluster) -> None:
    """The failure names what is not ready and shows pods, warnings and the last words of what ended."""
    with cluster.namespace("trial") as name:
        system = System(cluster, name)
        command = ("--", "sh", "-c", "echo it is broken; exit 1")
        system.kubectl("run", "trial", "--image=docker.io/valkey/valkey:9.1", "--restart=Always", *command)
        given_up = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff"
        system.kubectl("wait", f"--for={given_up}", "pod/trial", "--timeout=60s")
        with pytest.raises(NotReadyError) as raised:
            system.wait_until_ready(seconds=0)
    said = str(raised.value)
    assert "pod trial" in said.splitlines()[0]
    assert "-- trial trial\nit is broken" in said
    assert "BackOff" in said


def test_programs_are_pinned_to_one_dapr() -> None:
    """The cluster's Dapr, its images' tags and the engine on one host are one version."""
    assert build.DAPR.version == binaries.dapr_version()
