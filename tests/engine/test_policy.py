"""The policy of deliveries that every environment gets: long enough, and for everybody."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from todo.contracts import names

ROOT: Final = Path(__file__).parents[2]
FILES: Final = ("kubernetes/dapr-components/resiliency.yaml", "local/resources/resiliency.yaml")
HALF_AN_HOUR: Final = 30 * 60
LONGEST_ANSWER: Final = 30  # seconds: SMTP's deadline


@pytest.fixture(params=FILES)
def resiliency(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - YAML
    (document,) = yaml.safe_load_all(
        (ROOT / request.param).read_text()
    )  # Dapr loads no Resiliency behind another document
    return document


def seconds(duration: str) -> float:
    """A duration of whole seconds as Go writes it."""
    assert duration.endswith("s"), duration
    return float(duration.removesuffix("s"))


def test_an_outage_of_half_an_hour_makes_no_dead_letters(resiliency: Any) -> None:  # noqa: ANN401 - YAML
    """Constant: Dapr's exponential policy ends after 15 minutes, whatever its count says."""
    inbound = resiliency["spec"]["targets"]["components"][names.PUBSUB]["inbound"]
    retry = resiliency["spec"]["policies"]["retries"][inbound["retry"]]
    assert retry["policy"] == "constant"
    assert seconds(retry["duration"]) * retry["maxRetries"] >= HALF_AN_HOUR


def test_no_answer_is_cut_off_that_may_still_come(resiliency: Any) -> None:  # noqa: ANN401 - YAML
    inbound = resiliency["spec"]["targets"]["components"][names.PUBSUB]["inbound"]
    assert seconds(resiliency["spec"]["policies"]["timeouts"][inbound["timeout"]]) >= 2 * LONGEST_ANSWER


def test_it_is_for_every_app(resiliency: Any) -> None:  # noqa: ANN401 - YAML
    assert set(resiliency["scopes"]) == {app.app_id for app in names.APPS}
