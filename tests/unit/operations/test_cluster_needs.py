import os
import platform
import sys
from pathlib import Path

import pytest

from tools.cluster import needs
from tools.cluster.layout import ClusterError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")


@pytest.fixture(autouse=True)
def root_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(platform, "system", lambda: "Linux")


def test_missing_packages_are_one_line_that_installs_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who lacks programs is told the packages, sorted, in a command to copy; nothing else is asked before."""
    for program in needs.PROGRAMS.keys() - {"containerd", "ctr", "nft"}:
        (tmp_path / program).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(needs, "CNI", tmp_path)
    with pytest.raises(ClusterError) as raised:
        needs.check()
    assert str(raised.value) == (
        "missing: containerd containernetworking-plugins nftables (on Debian and Ubuntu: "
        "apt-get install --no-install-recommends containerd containernetworking-plugins nftables)"
    )


def test_root_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="needs root: run it with sudo"):
        needs.check()


def test_another_system_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(ClusterError, match="needs Linux; this is Darwin"):
        needs.check()


def test_what_the_kernel_lacks_is_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller and an ability of the kernel that are not there are named, each in its line."""
    monkeypatch.setattr(needs, "missing_packages", list)
    monkeypatch.setattr(needs, "CONTROLLERS", ("no-such-controller",))
    monkeypatch.setattr(needs, "PROBES", {"such thing": "false"})
    with pytest.raises(ClusterError) as raised:
        needs.check()
    lines = str(raised.value).splitlines()
    assert lines[:2] == ["cgroups: the controller no-such-controller is not there", "the kernel has no such thing"]
