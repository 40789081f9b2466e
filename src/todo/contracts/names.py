"""The one table of app ids, ports, components, topics and jobs.

YAML files, documents and dashboards are generated from it or tested against it; the names are the guide's.
"""

from dataclasses import dataclass
from typing import Final

PUBSUB: Final = "pubsub-kafka"  # whatever broker stands behind it: the guide names it so in every environment
STATE_STORE: Final = "statestore-postgres"
SECRET_STORE: Final = "kubernetes"  # noqa: S105 - a component's name
NAMESPACE: Final = "todo-phasev"

TASK_EVENTS: Final = "task-events"
TASK_REMINDERS: Final = "task-reminders"
REMINDER_DELIVERIES: Final = "reminder-deliveries"
TASK_OCCURRENCES: Final = "task-occurrences"
DEAD_LETTERS: Final = "dead-letters"

CHECK_DUE_TASKS: Final = "check-due-tasks"
RECONCILE_REMINDERS: Final = "reconcile-reminders"
RECONCILE_TASKS: Final = "reconcile-tasks"
RECONCILE_SERIES: Final = "reconcile-series"

LAST_POLL: Final = "last_poll_timestamp"  # state key, guide: "Duplicate Reminders"


@dataclass(frozen=True, slots=True)
class App:
    """One service: its Dapr app id, the port it serves on, its sidecar's HTTP port, and what it subscribes to."""

    app_id: str
    module: str
    port: int
    dapr_port: int
    topics: tuple[str, ...]
    schema: str | None = None  # the PostgreSQL schema it owns, for the two services that have one


BACKEND: Final = App(
    "backend", "todo.backend", 8000, 3500, (REMINDER_DELIVERIES, TASK_OCCURRENCES, DEAD_LETTERS), schema="backend"
)
NOTIFICATION: Final = App(
    "notification-service", "todo.notification", 8001, 3501, (TASK_EVENTS, REMINDER_DELIVERIES), schema="notification"
)
EMAIL_DELIVERY: Final = App("email-delivery", "todo.email_delivery", 8002, 3502, (TASK_REMINDERS,))
RECURRING: Final = App("recurring-service", "todo.recurring", 8003, 3503, (TASK_EVENTS,))
APPS: Final = (BACKEND, NOTIFICATION, EMAIL_DELIVERY, RECURRING)

MAILBOX_SMTP_PORT: Final = 1025
MAILBOX_HTTP_PORT: Final = 8025


def dead_letter_topic(app_id: str, topic: str) -> str:
    """Name the topic to which an app's sidecar moves what the app never accepted; `backend` reads them all."""
    return f"{DEAD_LETTERS}.{app_id}.{topic}"


def dead_letter_topics() -> list[str]:
    """Every sidecar dead-letter topic, in the order of the table."""
    return [dead_letter_topic(app.app_id, topic) for app in APPS for topic in app.topics]
