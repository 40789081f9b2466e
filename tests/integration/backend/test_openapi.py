"""What the OpenAPI document says is so: calls generated from it, with tokens and without."""

import asyncio
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.parameters import ParameterLocation

from tests.integration.backend.callers import EVERYTHING, Guarded
from tests.integration.backend.service import APP_TOKEN

FEW: Any = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
OPERATIONS = 48
ENDLESS = "/changes/stream"
SIGNING_IN = {"/session", "/session/oidc", "/session/oidc/callback"}
CONFORMS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def token(guarded: Guarded) -> str:
    """Opens everything."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, guarded.token(scopes=EVERYTHING)).result().token


@pytest.fixture(scope="module")
def document(guarded: Guarded) -> Any:  # noqa: ANN401 - a schema
    refusals = {"negative_data_rejection": {"expected-statuses": [401, 403, 404, 412, 413, 422, 428]}}
    config = schemathesis.Config.from_dict({"checks": refusals})
    return schemathesis.openapi.from_url(f"{guarded.base}/openapi.json", config=config)


def things(guarded: Guarded, token: str) -> dict[str, Any]:
    """Ids of things that are there, for calls whose ids would otherwise never be."""
    task: dict[str, Any] = {"title": "there", "due_at": "2031-05-06T12:00:00Z", "recurrence": {"rule": "FREQ=DAILY"}}
    headers = {"authorization": f"Bearer {token}"}
    made = requests.post(f"{guarded.base}/tasks", json=task, headers=headers, timeout=10).json()
    listed = requests.get(f"{guarded.base}/lists", headers=headers, timeout=10).json()["lists"]
    if not listed:
        named = {"name": "there"}
        listed = [requests.post(f"{guarded.base}/lists", json=named, headers=headers, timeout=10).json()]
    poison = f'{{"id": "{made["id"]}", "type": "todo.strange.v1", "subject": "s", "data": {{}}}}'
    sidecar = {"dapr-api-token": APP_TOKEN}
    requests.post(f"{guarded.base}/events/task-occurrences", poison, headers=sidecar, timeout=10).raise_for_status()
    letters = requests.get(f"{guarded.base}/dead-letters?limit=1", headers=headers, timeout=10).json()
    name = {"name": f"there {made['id']}"}
    view = requests.post(f"{guarded.base}/views", json=name, headers=headers, timeout=10).json()
    letter = letters["dead_letters"][0]["id"]
    ids = {"task_id": made["id"], "list_id": listed[0]["id"], "view_id": view["id"], "user_id": 1, "letter_id": letter}
    return ids | {"If-Match": "*"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as documented", "otherwise"])
def test_with_a_token_every_answer_is_as_documented(
    document: Any,  # noqa: ANN401 - a schema
    guarded: Guarded,
    token: str,
    mode: GenerationMode,
) -> None:
    known: dict[str, Any] = {}

    def prepare() -> None:
        known.update(things(guarded, token))

    def call(case: Any) -> None:  # noqa: ANN401 - a call
        if mode.is_positive:
            for place in (case.path_parameters, case.query, case.headers, case.body):
                if isinstance(place, MutableMapping):
                    place.update({name: known[name] for name in place if name in known})
        wrong = case.meta.components.get(ParameterLocation.BODY)
        checks = [*CONFORMS, *(["negative_data_rejection"] if wrong and wrong.mode.is_negative else [])]
        case.call_and_validate(headers={"authorization": f"Bearer {token}"}, checks=CHECKS.get_by_names(checks))

    assert _for_each_operation(document.exclude(path=ENDLESS), mode, call, prepare) >= OPERATIONS


def test_without_a_token_every_answer_is_401(document: Any) -> None:  # noqa: ANN401 - a schema
    def call(case: Any) -> None:  # noqa: ANN401 - a call
        answer = case.call()
        refused = {401, 403} if case.cookies else {401}  # a made-up cookie has no page behind it either
        if case.operation.path in SIGNING_IN:  # nobody there has to be anybody
            refused |= {404, 422, 429}
        assert answer.status_code in refused, case.as_curl_command()
        case.validate_response(answer, checks=CHECKS.get_by_names(CONFORMS))

    assert _for_each_operation(document, GenerationMode.POSITIVE, call) > OPERATIONS


def _for_each_operation(
    document: Any,  # noqa: ANN401 - a schema
    mode: GenerationMode,
    call: Callable[[Any], None],
    prepare: Callable[[], None] = lambda: None,
) -> int:
    """Generate calls of every operation; how many operations there are. One without parameters has no wrong ones."""
    count = 0
    for found in document.get_all_operations():
        operation = found.ok()
        count += 1
        prepare()
        if mode.is_positive or operation.body or any(True for _ in operation.iter_parameters()):
            generated: Any = given(operation.as_strategy(generation_mode=mode))
            FEW(generated(call))()
    return count
