"""Options of a system on stock Dapr for tests: everything free, temporary, and of nobody else's environment."""

import json
import os
from pathlib import Path
from typing import Any, Final

from todo.operations.engine.environments import KAFKA_SECRETS
from todo.operations.engine.kafka import KafkaServer
from todo.operations.system import HANDED_OUT
from todo.operations.up import UpOptions

PLAIN: Final = {key: value for key, value in os.environ.items() if key not in HANDED_OUT}


def on_dapr(broker: str | None, **changes: Any) -> UpOptions:  # noqa: ANN401 - any of the options
    """Options for a system on this broker; `data` instead of a temporary folder keeps what is in it."""
    known: dict[str, Any] = {"free_ports": True, "durable": False, "environ": PLAIN, "log_format": "json"}
    return UpOptions(engine="dapr", broker=broker, **known | {"temporary": "data" not in changes} | changes)


def keep_secret(data: Path, kafka: KafkaServer, **changed: str) -> None:
    """Put what pubsub-kafka.yaml wants to know of a broker of somebody else's behind the folder's secret store."""
    secret = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.sasl_bootstrap,
        "KAFKA_SASL_USERNAME": kafka.login.username,
        "KAFKA_SASL_PASSWORD": kafka.login.password,
        "KAFKA_CA_CERT": kafka.ca_certificate(),
    }
    place = data / "engine" / "secrets.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({KAFKA_SECRETS: secret | changed}))
