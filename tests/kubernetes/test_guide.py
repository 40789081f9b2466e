"""The guide's commands on the cluster, in its order: an empty cluster, then deployed, swapped, rotated, looked at."""

import subprocess
import sys

from tests.kubernetes.systems import Cluster
from todo.contracts import names
from tools.guide.pages import ROOT


def test_every_command_of_the_guide_does_what_the_guide_shows(cluster: Cluster) -> None:
    """The commands name the namespace. What is there already may be somebody's, and is left alone."""
    there = cluster.kubectl("get", "namespace", names.NAMESPACE, "--ignore-not-found")
    assert not there, (
        f"the guide makes namespace {names.NAMESPACE}, which is there: kubectl delete namespace {names.NAMESPACE}"
    )
    gone = ("delete", "namespace", names.NAMESPACE, "--ignore-not-found", "--timeout=120s")
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "tools.guide", "--where", "rig", "--here"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        cluster.kubectl(*gone)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
