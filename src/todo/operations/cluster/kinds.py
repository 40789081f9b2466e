"""Where the API server keeps the objects of a kind."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """`group` is empty for the core API."""

    plural: str
    version: str
    group: str = ""
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """The path of one object, or of all of them; without a namespace, of all namespaces."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{name}" if name else "")


_CORE: Final = (
    "configmaps endpoints events persistentvolumeclaims pods secrets serviceaccounts services",
    "namespaces nodes",
)
_GROUPS: Final = {
    "apps/v1": "deployments replicasets statefulsets",
    "autoscaling/v2": "horizontalpodautoscalers",
    "batch/v1": "cronjobs jobs",
    "coordination.k8s.io/v1": "leases",
    "dapr.io/v1alpha1": "components configurations resiliencies",
    "dapr.io/v2alpha1": "subscriptions",
    "networking.k8s.io/v1": "ingresses networkpolicies",
    "policy/v1": "poddisruptionbudgets",
    "rbac.authorization.k8s.io/v1": "roles rolebindings",
}
_CLUSTER_WIDE: Final = {
    "admissionregistration.k8s.io/v1": "mutatingwebhookconfigurations validatingwebhookconfigurations",
    "apiextensions.k8s.io/v1": "customresourcedefinitions",
}


def _table() -> dict[str, Kind]:
    kinds = [Kind(plural, "v1") for plural in _CORE[0].split()]
    kinds += [Kind(plural, "v1", namespaced=False) for plural in _CORE[1].split()]
    for groups, namespaced in ((_GROUPS, True), (_CLUSTER_WIDE, False)):
        for api_version, plurals in groups.items():
            group, version = api_version.split("/")
            kinds += [Kind(plural, version, group, namespaced) for plural in plurals.split()]
    return {name: kind for kind in kinds for name in _names(kind)}


def _names(kind: Kind) -> tuple[str, ...]:
    """As people say it: `pods`, `pod`, `components.dapr.io`."""
    names = (kind.plural, _singular(kind.plural))
    return (*names, f"{kind.plural}.{kind.group}") if kind.group else names


def _singular(plural: str) -> str:
    if plural.endswith("ies"):
        return plural[:-3] + "y"
    return plural[:-2] if plural.endswith(("sses", "ases")) and plural != "leases" else plural.removesuffix("s")


KNOWN: Final = _table()
