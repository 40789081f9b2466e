from prometheus_client import Counter, Gauge, Histogram

from todo.contracts.events import Outcome

mails = Counter("todo_mails", "Attempts at reminder mails, by what became of them", ["outcome"])
for outcome in (Outcome.DELIVERED, Outcome.DEFERRED, Outcome.FAILED, Outcome.SUPPRESSED):
    mails.labels(outcome)  # there from the first scrape on, so that a rate has a start
answered = Counter("todo_mail_events_answered", "Events about an attempt whose outcome backend knows: old ones")
repeated = Counter("todo_mail_outcomes_repeated", "Outcomes published again for a mail that was settled before")
left_to_others = Counter("todo_mails_left_to_others", "Mails not touched because another sender holds their claim")
not_begun = Counter("todo_mails_not_begun", "Mails for which no connection to the mail server was free in time")
unrecorded = Counter("todo_mails_unrecorded", "Mails whose outcome could not be kept in the state store in time")
lanes_in_use = Gauge("todo_smtp_connections_in_use", "Connections to the mail server that are busy with a mail")
sending = Histogram(
    "todo_mail_send_duration_seconds",
    "From the claim of a mail to the mail server's answer",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
lateness = Histogram(
    "todo_mail_lateness_seconds",
    "From the instant a reminder was set for to the mail server's acceptance",
    buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400),
)
