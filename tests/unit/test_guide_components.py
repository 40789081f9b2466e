"""The component files as the guide prints them: what the checker must say of each claim that is wrong about Dapr.

The files in tests/data/guide are the guide's YAML blocks as they are; the tuning blocks are entries for its Kafka file.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest
import yaml

from daprlet.checker import Finding, Severity, Surroundings, check, dapr
from todo.contracts import names

GUIDE: Final = Path(__file__).parents[1] / "data" / "guide"
APPS: Final = [app.app_id for app in names.APPS]
SURROUNDINGS: Final = Surroundings(dapr(), APPS, names.NAMESPACE, stores={names.SECRET_STORE})
LOCAL, CLOUD, REDIS = "pubsub-kafka-local.yaml", "pubsub-kafka.yaml", "pubsub-redis.yaml"
TUNING: Final = ("tuning-batch-settings.yaml", "tuning-consumer-concurrency.yaml", "tuning-handler-timeout.yaml")
SETTING: Final = "spec.metadata[{}]".format


def checked(paths: Iterable[Path]) -> list[Finding]:
    return check(paths, SURROUNDINGS)


def tuned(folder: Path) -> Path:
    """The guide's local Kafka component with what its tuning section adds."""
    component = yaml.safe_load((GUIDE / LOCAL).read_text())
    for name in TUNING:
        component["spec"]["metadata"] += yaml.safe_load((GUIDE / name).read_text())
    place = folder / "tuned.yaml"
    place.write_text(yaml.safe_dump(component))
    return place


def with_value(folder: Path, file: str, name: str, value: str) -> Path:
    """The guide's file with another value that its text allows."""
    component = yaml.safe_load((GUIDE / file).read_text())
    (entry,) = [one for one in component["spec"]["metadata"] if one["name"] == name]
    entry["value"] = value
    place = folder / file
    place.write_text(yaml.safe_dump(component))
    return place


@pytest.mark.parametrize(
    ("file", "rule", "key", "problem", "fix"),
    [
        (CLOUD, "value", SETTING("authType"), "'sasl_ssl' .*daprd ends", "'password'"),
        (CLOUD, "value", SETTING("saslMechanism"), "'SCRAM-SHA-256' .*nothing .*PLAIN", "'SHA-256'"),
        (CLOUD, "group", SETTING("consumerGroup"), "reaches one only", "app id"),
        (CLOUD, "setting", SETTING("enableIdempotence"), "ignores .*never exactly once", "idempotent"),
        (CLOUD, "setting", SETTING("acks"), "ignores .*all replicas", "producerRequiredAcks"),
        (CLOUD, "offset", "spec.metadata", "newest: .*misses", "oldest"),
        (CLOUD, "secretStore", "auth.secretStore", "'kubernetes-secrets' .*never loads", "'kubernetes'"),
        (CLOUD, "scope", "", "every app .*credentials", "scopes"),
        (CLOUD, "retry", "spec.type", "for ever and blocks its partition", "Resiliency .*dead-letter"),
        (LOCAL, "group", SETTING("consumerGroup"), "reaches one only", "app id"),
        (LOCAL, "setting", SETTING("enableIdempotence"), "ignores .*never exactly once", "idempotent"),
        (LOCAL, "setting", SETTING("acks"), "ignores .*all replicas", "producerRequiredAcks"),
        (LOCAL, "offset", "spec.metadata", "newest: .*misses", "oldest"),
        (LOCAL, "retry", "spec.type", "for ever and blocks its partition", "Resiliency .*dead-letter"),
        (REDIS, "group", SETTING("consumerID"), "reaches one only", "app id"),
        (REDIS, "value", SETTING("redeliverInterval"), "'30s' .*ignores .*every 15 s", "'30000'"),
        (REDIS, "retry", "spec.type", "acknowledged and lost", "Resiliency .*dead-letter"),
    ],
)
def test_each_error_of_the_guides_files_is_reported(file: str, rule: str, key: str, problem: str, fix: str) -> None:
    found = {(one.rule, one.key): one for one in checked([GUIDE / file])}
    assert (rule, key) in found, found
    assert re.search(problem, found[rule, key].problem)
    assert re.search(fix, found[rule, key].fix)


@pytest.mark.parametrize(("file", "errors", "warnings"), [(CLOUD, 7, 2), (LOCAL, 4, 1), (REDIS, 3, 0)])
def test_nothing_else_is_reported(file: str, errors: int, warnings: int) -> None:
    """`clientID`, an empty password, `processingTimeout: 60s` and the rest are right."""
    found = [one.severity for one in checked([GUIDE / file])]
    assert (found.count(Severity.ERROR), found.count(Severity.WARNING)) == (errors, warnings)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("lingerMs", "bulk"),
        ("batchSize", "bulk"),
        ("maxConcurrency", "partitions"),
        ("messageHandlerTimeout", "Resiliency timeout"),
    ],
)
def test_each_setting_of_the_tuning_section_is_unknown(tmp_path: Path, name: str, fix: str) -> None:
    (found,) = [one for one in checked([tuned(tmp_path)]) if one.key == SETTING(name)]
    assert (found.rule, found.severity) == ("setting", Severity.ERROR)
    assert fix in found.fix


@pytest.mark.parametrize("value", ["sasl_plaintext", "sasl_ssl"])
def test_the_ways_to_log_in_that_its_text_lists(tmp_path: Path, value: str) -> None:
    found = [one for one in checked([with_value(tmp_path, LOCAL, "authType", value)]) if one.rule == "value"]
    assert [one.key for one in found] == [SETTING("authType")]
    assert "disableTls" in found[0].fix


def test_its_folder_as_kubectl_would_apply_it(tmp_path: Path) -> None:
    """Three files, one name: the last one wins in a cluster, and daprd on one host ends."""
    for file in (LOCAL, CLOUD, REDIS):
        shutil.copy(GUIDE / file, tmp_path)
    found = [one for one in checked([tmp_path]) if one.rule == "duplicate"]
    assert [one.path.name for one in found] == [CLOUD, REDIS]
    assert all("leaves pubsub-redis.yaml" in one.fix and "duplicate definition" in one.fix for one in found)


def test_its_jobs_component(tmp_path: Path) -> None:
    """The guide lists `jobs-scheduler` among the components; there is no such category."""
    text = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: jobs-scheduler}\n"
    (tmp_path / "jobs.yaml").write_text(f"{text}spec: {{type: jobs.scheduler, version: v1, metadata: []}}\n")
    (found,) = checked([tmp_path])
    assert (found.rule, found.key) == ("type", "spec.type")
    assert "no component" in found.fix
