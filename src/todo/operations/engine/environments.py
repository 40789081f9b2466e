"""The environments: which component file stands behind `pubsub-kafka`, and what a run has to say about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

COMPONENTS: Final = Path(__file__).parents[4] / "kubernetes" / "dapr-components"

KAFKA_SECRETS: Final = "kafka-secrets"
KAFKA_SECRETS_MSK: Final = "kafka-secrets-msk"
REDIS_SECRETS: Final = "redis-secrets"
POSTGRES_SECRETS: Final = "postgres-secrets"
POSTGRES_OPERATOR: Final = "postgres-operator"  # who makes roles, where the server is ours: no service reads it


@dataclass(frozen=True, slots=True)
class Environment:
    """A broker as people name it.

    `values` are the settings that its file has for a cluster and that a run replaces, by metadata name; an environment
    without any takes even its address from the secret.
    """

    name: str
    file: str
    broker: str  # kafka or redis
    values: tuple[str, ...] = ()
    secret: str | None = None

    @property
    def path(self) -> Path:
        return COMPONENTS / self.file


KAFKA: Final = Environment("kafka", "pubsub-kafka-local.yaml", "kafka", values=("brokers",))
KAFKA_SASL: Final = Environment("kafka-sasl", "pubsub-kafka.yaml", "kafka", secret=KAFKA_SECRETS)
KAFKA_SASL_512: Final = Environment("kafka-sasl-512", "pubsub-kafka-msk.yaml", "kafka", secret=KAFKA_SECRETS_MSK)
REDIS: Final = Environment("redis", "pubsub-redis.yaml", "redis", values=("redisHost",), secret=REDIS_SECRETS)

ENVIRONMENTS: Final = {one.name: one for one in (KAFKA, KAFKA_SASL, KAFKA_SASL_512, REDIS)}
