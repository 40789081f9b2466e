"""Compile Kubernetes, etcd, Dapr, Helm, CoreDNS and metrics-server from pinned Go modules, once."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.cluster.layout import MODULES, ClusterError, cache


@dataclass(frozen=True)
class Module:
    """One Go module of tools/cluster/modules: what it requires is built with these flags."""

    name: str
    requires: str  # the module whose version names the folder
    packages: tuple[str, ...]
    stamp: str = ""
    tags: str = ""
    data: str = ""  # a folder of the required module that is kept beside the programs
    renamed: tuple[tuple[str, str], ...] = ()

    @property
    def folder(self) -> Path:
        return MODULES / self.name

    @property
    def version(self) -> str:
        found = re.search(rf"^\s*(?:require )?{re.escape(self.requires)} v(\S+)$", self._pins(), re.MULTILINE)
        if found is None:
            raise ClusterError(f"{self.folder / 'go.mod'} pins no version of {self.requires}")
        return found[1]

    @property
    def target(self) -> Path:
        pins = hashlib.sha256(f"{self!r}{self._pins()}{(self.folder / 'go.sum').read_text()}".encode())
        return cache() / f"{self.name}-{self.version}-{pins.hexdigest()[:12]}"

    def _pins(self) -> str:
        return (self.folder / "go.mod").read_text()


STAMP: Final = "k8s.io/component-base/version"
KUBERNETES: Final = Module(
    "kubernetes",
    "k8s.io/kubernetes",
    (
        "go.etcd.io/etcd/server/v3",
        *(
            f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            )
        ),
    ),
    stamp=f"-X {STAMP}.gitVersion=v{{version}} -X {STAMP}.gitMajor={{major}} -X {STAMP}.gitMinor={{minor}} "
    f"-X {STAMP}.gitTreeState=clean",
    renamed=(("server", "etcd"),),
)
DAPR: Final = Module(
    "dapr",
    "github.com/dapr/dapr",
    tuple(f"github.com/dapr/dapr/cmd/{name}" for name in ("daprd", "injector", "operator", "sentry", "scheduler")),
    stamp="-X github.com/dapr/dapr/pkg/buildinfo.version={version}",
    tags="stablecomponents",
    data="charts/dapr",
)
HELM: Final = Module("helm", "helm.sh/helm/v3", ("helm.sh/helm/v3/cmd/helm",))
COREDNS: Final = Module("coredns", "github.com/coredns/coredns", ("github.com/coredns/coredns",))
METRICS: Final = Module(
    "metrics-server", "sigs.k8s.io/metrics-server", ("sigs.k8s.io/metrics-server/cmd/metrics-server",)
)
ALL: Final = (KUBERNETES, DAPR, HELM, COREDNS, METRICS)


def ensure() -> None:
    """Build what is not there. Raises ClusterError with the last words of a build that failed."""
    for module in ALL:
        if not module.target.exists():
            build(module)


def build(module: Module) -> None:
    go = shutil.which("go")
    if go is None:
        raise ClusterError("Go is not installed. Install it from https://go.dev/dl (or your packages) and try again.")
    print(f"building {module.name} {module.version} ...", flush=True)
    started = time.monotonic()
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        unfinished = Path(folder) / "whole"
        compile_into(unfinished, go, module)
        unfinished.replace(module.target)
    print(f"{module.name}: done in {time.monotonic() - started:.0f} s", flush=True)


def compile_into(folder: Path, go: str, module: Module) -> None:
    folder.mkdir()
    major, minor, _ = module.version.split(".", 2)
    stamp = module.stamp.format(version=module.version, major=major, minor=minor)
    flags = ["-mod=readonly", "-trimpath", "-tags", module.tags, "-ldflags", f"-s -w {stamp}", "-o", f"{folder}/"]
    run_go([go, "build", *flags, *module.packages], module)
    for old, new in module.renamed:
        (folder / old).rename(folder / new)
    if module.data:
        source = run_go([go, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module.requires], module).strip()
        shutil.copytree(Path(source) / module.data, folder / Path(module.data).name, copy_function=shutil.copyfile)


def run_go(command: list[str], module: Module) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    done = subprocess.run(  # noqa: S603 - the go on PATH, fixed arguments
        command, cwd=module.folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ClusterError("\n".join([f"building {module.name} failed:", *done.stderr.splitlines()[-20:]]))
    return done.stdout


def path() -> str:
    """Return a PATH on which every program of the cluster comes first."""
    return os.pathsep.join([*(str(module.target) for module in ALL), os.environ["PATH"]])
