"""The shapes of the resource files that daprlet reads."""

from typing import Final, Literal

import msgspec

from daprlet.resiliency import ResiliencySpec
from daprlet.subscriptions import BulkSpec, SubscriptionSpec


class Identity(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class SecretKeyRef(msgspec.Struct, rename="camel"):
    name: str
    key: str = ""


class Entry(msgspec.Struct, rename="camel"):
    name: str
    value: str | int | float | bool | None = None
    secret_key_ref: SecretKeyRef | None = None
    env_ref: str = ""


class Auth(msgspec.Struct, rename="camel"):
    secret_store: str = ""


class ComponentBody(msgspec.Struct, rename="camel"):
    type: str
    version: Literal["v1"]
    metadata: list[Entry] = []


class ComponentFile(msgspec.Struct, rename="camel"):
    api_version: Literal["dapr.io/v1alpha1"]
    kind: Literal["Component"]
    metadata: Identity
    spec: ComponentBody
    auth: Auth | None = None
    scopes: list[str] = []


class SubscriptionBodyV1(msgspec.Struct, rename="camel"):
    pubsubname: str
    topic: str
    route: str
    dead_letter_topic: str = ""
    metadata: dict[str, str] | None = None
    bulk_subscribe: BulkSpec | None = None


class SubscriptionFile(msgspec.Struct, rename="camel"):
    api_version: Literal["dapr.io/v2alpha1"]
    kind: Literal["Subscription"]
    metadata: Identity
    spec: SubscriptionSpec
    scopes: list[str] = []


class SubscriptionFileV1(msgspec.Struct, rename="camel"):
    api_version: Literal["dapr.io/v1alpha1"]
    kind: Literal["Subscription"]
    metadata: Identity
    spec: SubscriptionBodyV1
    scopes: list[str] = []


class ResiliencyFile(msgspec.Struct, rename="camel"):
    api_version: Literal["dapr.io/v1alpha1"]
    kind: Literal["Resiliency"]
    metadata: Identity
    spec: ResiliencySpec
    scopes: list[str] = []


class SecretScope(msgspec.Struct, rename="camel"):
    store_name: str
    default_access: Literal["allow", "deny"] = "allow"
    allowed_secrets: list[str] = []
    denied_secrets: list[str] = []

    def allows(self, name: str) -> bool:
        if self.allowed_secrets:
            return name in self.allowed_secrets
        return name not in self.denied_secrets and self.default_access == "allow"


class SecretsBody(msgspec.Struct, rename="camel"):
    scopes: list[SecretScope] = []


class ConfigurationBody(msgspec.Struct, rename="camel"):
    secrets: SecretsBody = msgspec.field(default_factory=SecretsBody)


class ConfigurationFile(msgspec.Struct, rename="camel"):
    api_version: Literal["dapr.io/v1alpha1"]
    kind: Literal["Configuration"]
    metadata: Identity
    spec: ConfigurationBody = msgspec.field(default_factory=ConfigurationBody)


SHAPES: Final[dict[str, dict[str, type[msgspec.Struct]]]] = {
    "Component": {"dapr.io/v1alpha1": ComponentFile},
    "Subscription": {"dapr.io/v2alpha1": SubscriptionFile, "dapr.io/v1alpha1": SubscriptionFileV1},
    "Resiliency": {"dapr.io/v1alpha1": ResiliencyFile},
    "Configuration": {"dapr.io/v1alpha1": ConfigurationFile},
}
