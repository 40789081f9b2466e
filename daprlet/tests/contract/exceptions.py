"""Where engines differ: per engine the tests that do not hold on it, and why; docs/engine-differences.md says the same.

`daprd` is daprd on every broker, `daprd+kafka` on that one.
Nothing is skipped: these tests are not collected for that engine, everything else must hold.
"""

from typing import Final

EXCEPTIONS: Final[dict[tuple[str, str], str]] = {
    ("daprd", "test_bulk_subscribe::test_entries_of_a_batch_can_have_different_ends"): (
        "daprd 1.18.2 panics when an entry that was retried alone is dropped; answer a batch as a whole"
    ),
    ("daprd", "test_jobs::test_a_job_without_data_fires"): (
        "daprd 1.18.2 accepts a job without data and then cannot encode its callback; give every job data"
    ),
    ("daprd+kafka", "test_crash::test_what_was_acknowledged_does_not"): (
        "Kafka acknowledges a partition in order, and not more often than every second"
    ),
    ("daprd", "test_start::test_an_app_that_is_away_misses_nothing"): (
        "a refused connection uses up an attempt in daprd; switch app health checks on"
    ),
    ("daprd", "test_strictness::test_a_mistake_in_a_resource_file_is_refused"): (
        "daprd ignores keys and kinds that it does not know; daprlet refuses the file"
    ),
    ("daprd", "test_strictness::test_a_resiliency_behind_others_in_a_file_is_loaded"): (
        "daprd 1.18.2 does not load a Resiliency behind other documents; give it a file of its own"
    ),
}
