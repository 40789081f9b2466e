"""Where Dapr's own metadata files do not say what its code does. Each entry names the code it was read from.

Paths are those of components-contrib and dapr at the versions that `dapr.json` names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

COMPLETE: Final = frozenset(  # types whose code was read through: a setting not listed does not exist (a test compares)
    (
        "pubsub.kafka",
        "pubsub.redis",
        "pubsub.in-memory",
        "state.postgresql",
        "state.sqlite",
        "state.redis",
        "state.in-memory",
        "secretstores.local.file",
        "secretstores.local.env",
        "secretstores.kubernetes",
    )
)

COMMON: Final[Mapping[str, Mapping[str, str]]] = {
    "pubsub": {  # dapr: pkg/runtime/processor/pubsub, pkg/scopes
        "consumerID": "string",
        "allowedTopics": "string",
        "protectedTopics": "string",
        "publishingScopes": "string",
        "subscriptionScopes": "string",
    },
    "state": {  # dapr: pkg/components/state/state_config.go, pkg/encryption, pkg/runtime/pubsub/outbox.go
        "keyPrefix": "string",
        "actorStateStore": "bool",
        "primaryEncryptionKey": "string",
        "secondaryEncryptionKey": "string",
        "outboxPublishPubsub": "string",
        "outboxPublishTopic": "string",
        "outboxPubsub": "string",
        "outboxDiscardWhenMissingState": "bool",
    },
}

_AWS: Final = dict.fromkeys(  # the "aws" profile: common/aws/auth/auth.go
    (
        "region",
        "awsRegion",
        "accessKey",
        "secretKey",
        "sessionToken",
        "assumeRoleArn",
        "assumeRoleSessionName",
        "sessionName",
        "trustAnchorArn",
        "trustProfileArn",
        "endpoint",
    ),
    "string",
)
_AZURE: Final = dict.fromkeys(  # the "azuread" profile: common/authentication/azure/metadata.go
    (
        "azureCertificate",
        "azureCertificateFile",
        "azureCertificatePassword",
        "azureClientId",
        "azureClientSecret",
        "azureTenantId",
        "azureEnvironment",
        "azureAuthMethods",
    ),
    "string",
)

ADDED: Final[Mapping[str, Mapping[str, str]]] = {
    "pubsub.kafka": {
        "authRequired": "bool",  # common/component/kafka/metadata.go, upgradeMetadata
        "valueSchemaType": "string",  # common/component/kafka/metadata.go
        "backOffPolicy": "string",  # kit: retry.DecodeConfigWithPrefix, called in common/component/kafka/kafka.go
        "backOffDuration": "duration",
        "backOffInitialInterval": "duration",
        "backOffRandomizationFactor": "string",
        "backOffMultiplier": "string",
        "backOffMaxInterval": "duration",
        "backOffMaxElapsedTime": "duration",
        "backOffMaxRetries": "number",
        **_AWS,
    },
    "pubsub.redis": {"useAzureAD": "bool", **_AZURE},  # common/component/redis/settings.go
    "state.redis": {
        "useAzureAD": "bool",
        "maxRetries": "number",  # common/component/redis/redis.go, legacy
        "maxRetryBackoff": "number",
        **_AZURE,
    },
    "state.postgresql": {**_AWS, **_AZURE},
    "secretstores.kubernetes": {  # secretstores/kubernetes/metadata.go
        "defaultNamespace": "string",
        "kubeconfigPath": "string",
    },
}


@dataclass(frozen=True, slots=True)
class Change:
    """What is different about a setting; `source` is where it can be read."""

    type: str
    setting: str
    source: str
    kind: str = ""
    allowed: tuple[str, ...] = ()
    exact: bool = False
    any_case: bool = False
    consequence: str = ""
    fix: str = ""
    other_names: tuple[str, ...] = ()


_KAFKA: Final = "pubsub.kafka"
_KAFKA_METADATA: Final = "common/component/kafka/metadata.go"
_REDIS_SETTINGS: Final = "common/component/redis/settings.go"
_REDIS_PARSING: Final = "common/component/redis/redis.go, ParseClientFromProperties"

CHANGED: Final = (
    Change(
        _KAFKA,
        "authType",
        _KAFKA_METADATA,
        allowed=("awsiam", "certificate", "mtls", "none", "oidc", "oidc_private_key_jwt", "password"),
        any_case=True,
        consequence="daprd ends with \"invalid value for 'authType' attribute\"",
        fix="SASL with user and password is 'password': over TLS as it is (SASL_SSL), "
        'with disableTls: "true" without (SASL_PLAINTEXT)',
    ),
    Change(
        _KAFKA,
        "saslMechanism",
        "common/component/kafka/auth.go",
        allowed=("PLAINTEXT", "SHA-256", "SHA-512"),
        consequence="Dapr says nothing and logs in with PLAIN, which sends the password as it is",
        fix="SCRAM-SHA-256 is written 'SHA-256', SCRAM-SHA-512 'SHA-512'",
    ),
    Change(
        _KAFKA,
        "initialOffset",
        _KAFKA_METADATA,
        exact=True,
        any_case=True,
        consequence='daprd ends with "invalid initialOffset"',
    ),
    Change(
        _KAFKA,
        "consumerGroupRebalanceStrategy",
        "common/component/kafka/kafka.go",
        any_case=True,
        consequence="Dapr warns and takes range",
    ),
    Change(_KAFKA, "producerRequiredAcks", _KAFKA_METADATA, allowed=("all", "local", "none"), any_case=True),
    Change(_KAFKA, "compression", "github.com/IBM/sarama", allowed=("none", "gzip", "snappy", "lz4", "zstd")),
    Change(_KAFKA, "caCert", _KAFKA_METADATA, exact=True),
    Change(_KAFKA, "consumeRetryInterval", _KAFKA_METADATA, exact=True),
    Change(_KAFKA, "channelBufferSize", _KAFKA_METADATA, exact=True),
    Change(_KAFKA, "consumerFetchDefault", _KAFKA_METADATA, exact=True),
    Change(_KAFKA, "consumerFetchMin", _KAFKA_METADATA, exact=True),
    Change(_KAFKA, "excludeHeaderMetaRegex", _KAFKA_METADATA, exact=True),
    Change(
        "pubsub.redis",
        "redeliverInterval",
        _REDIS_PARSING,
        kind="milliseconds",
        exact=True,
        consequence="Dapr ignores the value, says nothing, and looks every 15 s",
        fix="30 s are '30000'",
    ),
    Change(
        "pubsub.redis",
        "redisType",
        "common/component/redis/v9client.go",
        allowed=("node", "cluster"),
        consequence="Dapr takes node",
    ),
    Change("pubsub.redis", "redisPort", _REDIS_SETTINGS, kind="number"),
    Change("state.redis", "redisPort", _REDIS_SETTINGS, kind="number"),
    Change(
        "state.postgresql",
        "connectionString",
        "common/authentication/postgresql/metadata.go",
        other_names=("url",),
    ),
    Change("state.postgresql", "timeout", "state/postgresql/v2/metadata.go", other_names=("timeoutInSeconds",)),
    Change(
        "state.postgresql",
        "cleanupInterval",
        "state/postgresql/v2/metadata.go",
        other_names=("cleanupIntervalInSeconds",),
    ),
    Change("state.sqlite", "connectionString", "common/authentication/sqlite/metadata.go", other_names=("url",)),
    Change(
        "state.sqlite",
        "timeout",
        "common/authentication/sqlite/metadata.go",
        kind="duration",
        other_names=("timeoutInSeconds",),
    ),
    Change("state.sqlite", "busyTimeout", "common/authentication/sqlite/metadata.go", kind="duration"),
    Change(
        "state.sqlite",
        "cleanupInterval",
        "state/sqlite/sqlite_metadata.go",
        kind="duration",
        other_names=("cleanupIntervalInSeconds",),
    ),
)


@dataclass(frozen=True, slots=True)
class Stranger:
    """A setting that people write and that does not exist: what they wanted, and what to do for it."""

    wanted: str
    fix: str


STRANGERS: Final[Mapping[str, Mapping[str, Stranger]]] = {
    _KAFKA: {
        "acks": Stranger(
            "Dapr waits for all replicas anyway", "leave it out, or write producerRequiredAcks: all, local or none"
        ),
        "enableidempotence": Stranger(
            "Dapr's producer is not idempotent and delivers at least once, never exactly once",
            "leave it out and make the consumers idempotent",
        ),
        "lingerms": Stranger("Dapr sends each publish by itself", "leave it out and publish in bulk"),
        "batchsize": Stranger("Dapr sends each publish by itself", "leave it out and publish in bulk"),
        "maxconcurrency": Stranger(
            "Dapr delivers each partition one by one", "leave it out; more partitions or bulkSubscribe make it faster"
        ),
        "messagehandlertimeout": Stranger(
            "a delivery has no time limit of its own",
            "leave it out and write a Resiliency timeout for the component's inbound",
        ),
    },
}
