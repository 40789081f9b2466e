"""What every service counts about its jobs."""

from prometheus_client import Counter, Histogram

ticks = Counter("todo_job_ticks", "Calls of the Scheduler", ["job_name"])
unasked = Counter("todo_job_looks_unasked", "Looks without a tick: none had come for five periods", ["job_name"])
failures = Counter("todo_job_failures", "Looks that failed or were put off", ["job_name"])
duration = Histogram(
    "todo_job_seconds",
    "One look of a job at its work list",
    ["job_name"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
)
