"""The programs that make up the cluster, with their options and configuration files, for one run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.cluster.layout import DNS_IP, NODE, NODE_IP, POD_CIDR, SERVICE_CIDR, cgroup, images_folder
from tools.cluster.needs import CNI

ETCD: Final = "http://127.0.0.1:12379"
ETCD_PEER: Final = "http://127.0.0.1:12380"
METRICS_PORT: Final = 4443
MOST_PODS: Final = 200
DAPR_USER: Final = 65532
DAPR_STORAGE: Final = "dapr-scheduler"
SCHEDULER_FOLDERS: Final = [Path(f"/run/dapr-scheduler-{number}") for number in range(3)]  # in memory, as all of /run
SOCKET: Final = "/run/containerd.sock"  # inside, /run is the cluster's own

CONTAINERD: Final = """\
version = 2
root = "{root}"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_programs}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""
COREFILE: Final = """\
.:53 {{
  bind {ip}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {run}/coredns.kubeconfig todo
    ttl 2
  }}
  errors
}}
"""


def write_configuration(run: Path) -> None:
    """Write the configuration files of the servers into the folder of the run."""
    for folder in ("etcd", "cni", "kubelet", "metrics-server", "volume-plugins"):
        (run / folder).mkdir()
    containerd = CONTAINERD.format(root=images_folder(), socket=SOCKET, cni_programs=CNI, cni=run / "cni")
    (run / "containerd.toml").write_text(containerd)
    (run / "cni" / "10-todo.conflist").write_text(json.dumps(pod_network()))
    (run / "kubelet.json").write_text(json.dumps(kubelet_configuration(run)))
    (run / "Corefile").write_text(COREFILE.format(ip=DNS_IP, run=run))


def pod_network() -> dict[str, object]:
    """Return CNI's configuration: each pod has a wire of its own to the node, and all traffic is routed by the node."""
    addresses = {
        "type": "host-local",
        "dataDir": "/run/pod-addresses",
        "ranges": [[{"subnet": POD_CIDR}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {"cniVersion": "0.4.0", "name": "todo", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}]}


def kubelet_configuration(run: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "healthzBindAddress": "127.0.0.1",
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(run / "pki" / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup()}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": ["none"],
        "failSwapOn": False,
        "failCgroupV1": False,
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "volumePluginDir": str(run / "volume-plugins"),
        "clusterDNS": [DNS_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "makeIPTablesUtilChains": False,
        "maxPods": MOST_PODS,
        "serializeImagePulls": False,
        # The disk is shared with everything else on this machine: no image is dropped, no pod evicted for it.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMinimumGCAge": "24h",
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "syncFrequency": "10s",  # a mounted secret that changed is seen so soon
        "nodeStatusUpdateFrequency": "10s",
    }


def etcd(run: Path) -> list[str]:
    return [
        "etcd",
        f"--data-dir={run / 'etcd'}",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        f"--listen-peer-urls={ETCD_PEER}",
        f"--initial-advertise-peer-urls={ETCD_PEER}",
        f"--initial-cluster=default={ETCD_PEER}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(run: Path) -> list[str]:
    pki = run / "pki"
    return [
        "kube-apiserver",
        f"--etcd-servers={ETCD}",
        f"--bind-address={NODE_IP}",
        f"--advertise-address={NODE_IP}",
        "--secure-port=6443",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--token-auth-file={pki / 'tokens.csv'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'api.crt'}",
        f"--tls-private-key-file={pki / 'api.key'}",
        f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={pki / 'ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy.key'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'accounts.key'}",
        "--allow-privileged=true",
        "--profiling=false",
    ]


def containerd(run: Path) -> list[str]:
    return ["containerd", f"--config={run / 'containerd.toml'}", "--log-level=warn"]


def controller_manager(run: Path) -> list[str]:
    pki = run / "pki"
    return [
        "kube-controller-manager",
        *logs_in(run, "controller-manager"),
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",  # the injector admits by the name of the service account
        f"--service-account-private-key-file={pki / 'accounts.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        "--horizontal-pod-autoscaler-sync-period=5s",
        "--profiling=false",
    ]


def scheduler(run: Path) -> list[str]:
    return [
        "kube-scheduler",
        *logs_in(run, "scheduler"),
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--profiling=false",
    ]


def kubelet(run: Path) -> list[str]:
    return [
        "kubelet",
        f"--config={run / 'kubelet.json'}",
        f"--kubeconfig={run / 'kubelet.kubeconfig'}",
        f"--root-dir={run / 'kubelet'}",
        f"--cert-dir={run / 'kubelet' / 'pki'}",
        f"--node-ip={NODE_IP}",
        f"--hostname-override={NODE}",
    ]


def proxy(run: Path) -> list[str]:
    return [
        "kube-proxy",
        f"--kubeconfig={run / 'proxy.kubeconfig'}",
        "--proxy-mode=nftables",
        f"--cluster-cidr={POD_CIDR}",
        f"--hostname-override={NODE}",
        f"--bind-address={NODE_IP}",
        "--metrics-bind-address=127.0.0.1:10249",
        "--healthz-bind-address=127.0.0.1:10256",
        "--conntrack-max-per-core=0",  # the table's size belongs to the whole machine
    ]


def coredns(run: Path) -> list[str]:
    return ["coredns", "-conf", str(run / "Corefile")]


def metrics_server(run: Path) -> list[str]:
    return [
        "metrics-server",
        *logs_in(run, "metrics-server"),
        "--kubelet-insecure-tls",
        "--kubelet-preferred-address-types=InternalIP",
        "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",  # has to be shorter than the resolution
        f"--secure-port={METRICS_PORT}",
        f"--bind-address={NODE_IP}",
        f"--cert-dir={run / 'metrics-server'}",
    ]


def logs_in(run: Path, name: str) -> Sequence[str]:
    """Return the options by which a component of the control plane knows who it is and whom to ask about others."""
    file = run / f"{name}.kubeconfig"
    return [f"--{purpose}kubeconfig={file}" for purpose in ("", "authentication-", "authorization-")]


def scheduler_volumes() -> list[dict[str, object]]:
    """Return a volume for each pod of Dapr's Scheduler: without its log a pod that is made anew is not let in again."""
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": folder.name},
            "spec": {
                "storageClassName": DAPR_STORAGE,
                "capacity": {"storage": "16Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": str(folder), "type": "Directory"},
            },
        }
        for folder in SCHEDULER_FOLDERS
    ]


def metrics_api() -> list[dict[str, object]]:
    """Return what tells the API server that metrics-server, which is no pod, serves metrics.k8s.io."""
    meta = {"name": "metrics-server", "namespace": "kube-system"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": METRICS_PORT}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "metrics-server"}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": METRICS_PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [NODE_IP], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "service": meta,
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    ]
