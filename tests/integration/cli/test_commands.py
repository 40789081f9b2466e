"""The commands against a whole system: what they print, what they leave behind, and their exit codes."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.integration.cli.conftest import Running, todo


def test_a_task_is_added_listed_shown_and_closed_by_the_beginning_of_its_id(system: Running) -> None:
    added = system.ok(
        "add", "Water the plants", "--due", "in 2h", "--remind", "1h", "--label", "home", "--priority", "2"
    )
    begin = added["id"][:10]
    assert added["reminders"] == ["-PT1H"]
    assert added["id"] in [one["id"] for one in system.ok("list", "--label", "home")["tasks"]]
    shown = system("show", begin)
    assert shown.code == 0
    assert "Water the plants" in shown.out
    assert system.ok("show", begin)["priority"] == 2
    assert system.ok("done", begin)["status"] == "done"
    assert system.ok("reopen", begin)["status"] == "open"


def test_json_is_exactly_what_the_api_says(system: Running) -> None:
    task_id = system.add("As it came")
    printed = system("show", task_id, "--json").out
    with urllib.request.urlopen(f"{system.known.addresses['backend']}/tasks/{task_id}") as answer:  # noqa: S310 - loopback
        assert printed == answer.read().decode() + "\n"


def test_edit_changes_what_is_given_and_none_clears(system: Running) -> None:
    task_id = system.ok("add", "Before", "--due", "tomorrow 09:00", "--remind", "due", "--label", "a", "--notes", "n")[
        "id"
    ]
    edited = system.ok("edit", task_id, "--title", "After", "--due", "none", "--label", "none")
    assert (edited["title"], edited["due_at"], edited["labels"]) == ("After", None, [])
    assert (edited["notes"], edited["reminders"]) == ("n", ["PT0S"])
    assert system("edit", task_id).code == 2


def test_a_snoozed_task_is_reminded_of_again(system: Running) -> None:
    task_id = system.ok("add", "Later", "--due", "in 1h", "--remind", "due")["id"]
    assert len(system.ok("snooze", task_id, "in 3h", "--reminder", "due")["reminders"]) == 2
    states = [one["state"] for one in system.ok("show", task_id)["reminder_history"]]
    assert states == ["dismissed", "scheduled"]


def test_a_snooze_without_an_offset_is_meant_in_the_zone_of_the_task(system: Running) -> None:
    task_id = system.ok("add", "There", "--due", "2030-06-01T09:00", "--zone", "Europe/Berlin")["id"]
    assert system.ok("snooze", task_id, "2030-12-01T09:00")["reminders"] == ["2030-12-01T08:00:00Z"]


def test_a_line_is_shown_as_it_is_read_and_saved_when_told_to(system: Running) -> None:
    flat = system.ok("lists", "add", "Flat")["id"]
    line = "Pay rent every last day of month 9am #home !1 remind 1h @Flat"
    unsure = system("quick", line, "--zone", "Europe/Berlin")
    assert (unsure.code, "nothing is saved" in unsure.err) == (1, True)
    assert "last day of every month, 09:00 Europe/Berlin; next " in unsure.out
    read = system.ok("quick", line)
    assert (read["title"], read["draft"]["list_id"]) == ("Pay rent", flat)
    assert "Pay rent" not in system("list").out
    saved = system("quick", *line.split(), "--yes", "--json")
    assert saved.code == 0
    assert (saved.json["title"], saved.json["labels"], saved.json["priority"]) == ("Pay rent", ["home"], 1)
    assert saved.json["recurrence"]["rule"] == "FREQ=MONTHLY;BYMONTHDAY=-1"
    assert (saved.json["list_id"], saved.err) == (flat, "")
    german = system("quick", "Müll jeden Montag 7 Uhr", "-y", TODO_LANGUAGE="de")
    assert "jeden Montag, 07:00" in german.out


def test_a_sentence_is_told_as_a_rule_and_back(system: Running) -> None:
    told = system.ok("sentence", "every", "mon", "and", "thu", "--due", "2031-05-06")
    assert (told["rule"], told["occurrences"][0]) == ("FREQ=WEEKLY;BYDAY=MO,TH", "2031-05-08")
    assert "every Monday and Thursday" in system("sentence", told["rule"]).out
    refused = system("sentence", "now and then")
    assert (refused.code, "says nothing that repeats" in refused.err) == (1, True)


def test_a_new_rule_keeps_the_mode_and_policy_of_the_task_unless_told(system: Running) -> None:
    task_id = system.ok("add", "Often", "--due", "tomorrow", "--repeat", "weekly", "--from-completion", "--each")["id"]
    kept = system.ok("edit", task_id, "--repeat", "daily")["recurrence"]
    assert (kept["rule"], kept["mode"], kept["policy"]) == ("FREQ=DAILY", "completion", "each")
    told = system.ok("edit", task_id, "--repeat", "daily", "--from-due", "--skip")["recurrence"]
    assert (told["mode"], told["policy"]) == ("due", "skip")


def test_deleting_a_task_that_repeats_asks_how_much(system: Running) -> None:
    task_id = system.ok("add", "Again", "--due", "tomorrow", "--repeat", "weekly")["id"]
    refused = system("delete", task_id)
    assert refused.code == 1
    assert "scope=occurrence" in refused.err
    assert system("delete", task_id, "--series", "--occurrence").code == 2
    assert system("delete", task_id, "--series").code == 0
    assert system("show", task_id).code == 1


def test_a_refusal_names_field_problem_and_fix_in_words_or_as_the_document(system: Running) -> None:
    refused = system("add", "  ")
    assert refused.code == 1
    assert refused.err == "error: title: it is empty\n  fix: say what is to be done\n"
    document = json.loads(system("add", "  ", "--json").err)
    assert document["type"] == "urn:todo:problem:invalid-input"
    rule = system("add", "Never", "--due", "tomorrow", "--repeat", "FREQ=SOMETIMES")
    assert rule.code == 1
    assert "fix:" in rule.err


def test_the_beginning_of_an_id_must_fit_one_task(system: Running) -> None:
    ids = [system.add(f"Task {number}") for number in range(17)]
    first = {one[0] for one in ids}
    twice = next(one for one in first if sum(each[0] == one for each in ids) > 1)
    several = system("done", twice)
    assert several.code == 1
    assert "give more of it" in several.err
    assert system("done", "0" * 31).code == 1
    assert system("done", "not-an-id").code == 2


def test_tasks_belong_to_their_user(system: Running) -> None:
    user = system.ok("user", "add", "other@example.org", "--name", "Other", "--zone", "Europe/Berlin")
    assert user["id"] in [one["id"] for one in system.ok("user", "list")]
    task_id = system.ok("add", "Mine", "--user", str(user["id"]))["id"]
    assert system("show", task_id).code == 1
    assert system.ok("show", task_id, "--user", str(user["id"]))["user_id"] == user["id"]
    assert system("add", "x", "--user", "999999").code == 1
    assert "taken" in (taken := system("user", "add", "other@example.org").err) or "exists" in taken


def test_a_reminder_due_now_is_in_the_mailbox_and_why_tells_its_way(system: Running) -> None:
    task_id = system.ok("add", "Mail me [bold]now[/bold]", "--due", "now", "--remind", "due")["id"]
    mail = system.until(lambda: _mail(system, "Mail me"))
    assert "Mail me [bold]now[/bold]" in system("mailbox").out
    assert mail["MessageID"] in system("mailbox", mail["ID"][:8]).out
    system.until(lambda: _states(system, task_id) == ["delivered"])
    story = system("why", task_id[:12])
    assert story.code == 0
    for word in ("todo.task.created.v1", "dispatched", "email-delivery", "delivered"):
        assert word in story.out
    assert system("mailbox", "nosuchmail").code == 1


def test_a_completed_occurrence_gets_its_successor(system: Running) -> None:
    added = system.ok("add", "Take the medicine", "--due", "now", "--repeat", "daily")
    series = added["recurrence"]["series_id"]
    system.ok("done", added["id"])
    following = system.until(lambda: [one for one in system.ok("list")["tasks"] if _series(one) == series])
    assert following[0]["recurrence"]["seq"] == 2


def test_dead_letters_are_listed_shown_replayed_and_discarded(system: Running) -> None:
    _publish(
        system,
        {"type": "todo.task.created.v1", "source": "test", "id": "bad-1", "specversion": "1.0", "data": {"a": 1}},
    )
    letter = system.until(lambda: _letter(system, "bad-1", "open"))
    assert letter["topic"] == "task-events"
    assert "bad-1" in system("dead-letters", "show", str(letter["id"])).out
    assert system.ok("dead-letters", "replay", str(letter["id"]))["replays"] == 1
    again = system.until(lambda: _letter(system, "bad-1", "open"))
    assert again["replays"] == 1
    for one in system.ok("dead-letters", "list")["dead_letters"]:
        assert system.ok("dead-letters", "discard", str(one["id"]))["status"] == "discarded"
    assert system("dead-letters", "list").out == "no dead letters\n"
    assert system("dead-letters", "show", "999999").code == 1


def test_the_pipeline_is_told_in_words_and_as_json(system: Running) -> None:
    assert system.ok("pipeline")["sidecar_ready"] is True
    assert "dead letters" in system("pipeline").out


def test_a_second_start_on_the_same_folder_says_who_runs_there(system: Running) -> None:
    second = system("up", "--free-ports", "--data", str(system.data))
    assert second.code == 1
    assert str(system.known.pid) in second.err


def test_without_a_system_every_question_ends_with_3_and_how_to_start_one(tmp_path: Path) -> None:
    nowhere = {"TODO_API": "http://127.0.0.1:9"}
    for arguments in (["list"], ["add", "x"], ["why", "ab"], ["verify"], ["pipeline"], ["user", "list"]):
        result = todo(*arguments, data=tmp_path, **nowhere)
        assert result.code == 3, arguments
        assert "todo up" in result.err
        assert result.err.count("\n") == 1


def test_what_answers_but_is_no_backend_is_told_apart(system: Running) -> None:
    result = system("list", "--api", system.known.addresses["mailbox"])
    assert result.code == 3
    assert "something else" in result.err


def _publish(system: Running, event: dict[str, Any]) -> None:
    token = (system.data / "tokens" / "dapr-api-token").read_text()
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{system.known.addresses['daprlet']}/v1.0/publish/pubsub-kafka/task-events",
        json.dumps(event).encode(),
        {"content-type": "application/cloudevents+json", "dapr-api-token": token},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        assert answer.status == 204


def _mail(system: Running, title: str) -> Any:  # noqa: ANN401 - of the mailbox's JSON
    return next((one for one in system.ok("mailbox")["messages"] if title in one["Subject"]), None)


def _letter(system: Running, event_id: str, status: str) -> Any:  # noqa: ANN401 - of the API's JSON
    letters = system.ok("dead-letters", "list", "--status", status)["dead_letters"]
    return next((one for one in letters if one["event_id"] == event_id), None)


def _states(system: Running, task_id: str) -> list[str]:
    return [one["state"] for one in system.ok("show", task_id)["reminder_history"]]


def _series(task: dict[str, Any]) -> str | None:
    return task["recurrence"]["series_id"] if task["recurrence"] else None


def test_watch_prints_what_there_is_and_what_comes(system: Running) -> None:
    """Each line has the cursor to go on after it."""
    user = str(system.ok("user", "add", "watcher@example.test")["id"])
    first = system.ok("add", "watched", "--user", user)["id"]
    told = system("watch", "--all", "--count", "1", "--json", "--user", user)
    (line,) = [json.loads(one) for one in told.out.splitlines()]
    assert (line["event"], line["kind"], line["value"]["id"]) == ("change", "task", first)
    system.ok("edit", first, "--title", "watched on", "--user", user)
    shown = system("watch", "--cursor", line["cursor"], "--count", "1", "--user", user)
    assert (shown.code, shown.out) == (0, f"task {first[:8]}  version 2  watched on  open\n")
    assert system("watch", "--cursor", "made up").code == 1


def test_tasks_are_listed_by_a_filter_that_can_be_saved(system: Running) -> None:
    """What a filter finds is listed, saved under a name it is found by, renamed and removed; a fault has its place."""
    task_id = system.ok("add", "Call the plumber", "--label", "filtered", "--priority", "1", "--due", "2020-01-01")[
        "id"
    ]
    system.ok("add", "Something else", "--label", "filtered")
    listed = system.ok("list", "--filter", "#filtered & overdue & plumb")["tasks"]
    assert [one["id"] for one in listed] == [task_id]
    wrong = system("list", "--filter", "#filtered & !9")
    assert (wrong.code, "at character 13: !9 is no priority" in wrong.err) == (1, True)
    saved = system.ok("views", "add", "Urgent", "#filtered & !1", "--sort", "priority")
    assert (saved["name"], saved["sort"]) == ("Urgent", "priority")
    assert [one["id"] for one in system.ok("views", "show", "urgent")["tasks"]] == [task_id]
    assert system.ok("views", "rename", "urgent", "This week")["name"] == "This week"
    assert "#filtered & !1" in system("views", "list").out
    assert system("views", "show", "Urgent").code == 1
    assert system.ok("views", "remove", "this week") is None
    assert system.ok("views", "list") == {"views": []}
