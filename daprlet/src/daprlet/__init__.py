"""An embedded Dapr sidecar host for one machine: pub/sub, state, jobs and secrets over Dapr's HTTP API, on SQLite."""

from typing import Final

VERSION: Final = "0.1.0"
