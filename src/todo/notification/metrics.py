"""What this service counts about reminders."""

from prometheus_client import Counter, Gauge, Histogram

dispatched = Counter("todo_reminders_dispatched", "Reminders sent on their way, repeated dispatches included")
lateness = Histogram(
    "todo_reminder_lateness_seconds",
    "From the instant a reminder was to be dispatched to its dispatch",
    buckets=(0.25, 0.5, 1, 1.5, 2, 5, 10, 30, 60, 300, 3600),
)
settled = Counter("todo_reminders_settled", "Reminder instances that reached an end", ["state"])
healed = Counter("todo_tasks_reconciled", "Tasks whose snapshot had not arrived and was fetched")
regressions = Counter("todo_task_version_regressions", "Tasks of which backend has an older version than was seen here")

told_again = Counter("todo_reminder_ends_told_again", "Ends of reminders that backend had not heard of")
oldest_due = Gauge(
    "todo_reminders_oldest_due_seconds", "How long the oldest reminder that is due waits for its dispatch"
)
