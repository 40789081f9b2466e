from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from daprlet.apps import Apps, Replica
from daprlet.broker import Broker
from daprlet.jobs import Jobs
from daprlet.metrics import Metrics
from daprlet.resources import Resources
from daprlet.settings import AppSettings
from daprlet.state import StateStore


@dataclass(slots=True)
class Sidecar:
    """What the API of one app's port works with."""

    settings: AppSettings
    replica: Replica
    apps: Apps
    broker: Broker
    jobs: Jobs
    states: Mapping[str, StateStore]
    shut_down: Callable[[], None]
    extended: dict[str, str] = field(default_factory=dict)
    draining: bool = False

    @property
    def app_id(self) -> str:
        return self.settings.app_id

    @property
    def resources(self) -> Resources:
        return self.replica.resources

    @property
    def metrics(self) -> Metrics:
        return self.replica.metrics
