"""`todo demo`, whole: it succeeds on a system that works, and says what is missing on one that does not."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.integration.cli.conftest import todo
from todo.operations import demo
from todo.operations.demo import demo_options, demonstrate


def test_the_demonstration_succeeds_and_tells_its_story(tmp_path: Path) -> None:
    told = todo("demo", "--json", data=tmp_path)
    assert told.code == 0, told.out + told.err
    story = json.loads(told.out)
    assert story["missing"] == []
    assert story["report"]["agree"] is True
    assert [timeline["title"] for timeline in story["timelines"]] == [
        "Water the plants", "Take the medicine", "Take the medicine, again",
    ]  # fmt: skip
    for timeline in story["timelines"]:
        instants = [moment["at"] for moment in timeline["moments"]]
        assert instants == sorted(instants)
    assert list(tmp_path.iterdir()) == [], "it keeps to its own folder"


async def test_a_system_that_sends_no_mail_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PATIENCE", 10.0)
    nowhere = {"email-delivery": {"SMTP_URL": "smtp://127.0.0.1:9"}}
    options = dataclasses.replace(demo_options(), extra_env=nowhere, durable=False)
    story = await demonstrate(lambda _: None, options)
    assert (story.complete, story.missing) == (False, ("the mail of 'Water the plants'",))
    assert any(line.startswith("email-delivery: ") for line in story.troubles), story.troubles
