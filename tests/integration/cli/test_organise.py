"""Lists, places, the trash and undo from the command line, against a whole system."""

from tests.integration.cli.conftest import Running


def test_a_task_is_put_into_a_list_and_under_a_parent_by_their_names(system: Running) -> None:
    work = system.ok("lists", "add", "Work at home", "--color", "#1F6FEB")
    parent = system.ok("add", "Paint", "--list", "work AT home", "--start", "2031-05-01", "--due", "2031-05-06")
    assert (parent["list_id"], parent["start_date"]) == (work["id"], "2031-05-01")
    below = system.ok("add", "Buy paint", "--parent", parent["id"][:10])
    assert (below["parent_id"], below["list_id"]) == (parent["id"], work["id"])
    listed = system.ok("list", "--list", work["id"][:10])["tasks"]
    assert {one["title"] for one in listed} == {"Paint", "Buy paint"}
    out = system.ok("edit", below["id"], "--parent", "none", "--list", "none", "--start", "2031-05-02")
    assert (out["parent_id"], out["list_id"], out["start_date"]) == (None, None, "2031-05-02")
    assert system.ok("edit", below["id"], "--start", "none")["start_date"] is None


def test_lists_are_shown_changed_and_deleted(system: Running) -> None:
    first, second = (system.ok("lists", "add", name) for name in ("Garden", "Kitchen"))
    assert "Garden" in system("lists", "list").out
    changed = system.ok("lists", "edit", "garden", "--name", "Yard", "--after", "Kitchen", "--color", "none")
    assert (changed["id"], changed["name"]) == (first["id"], "Yard")
    assert changed["position"] > second["position"]
    assert system("lists", "edit", "Yard").code == 2
    assert system("lists", "delete", "Yard").code == 0
    assert system("lists", "delete", "Yard").code == 1


def test_what_is_deleted_is_in_the_trash_and_comes_back(system: Running) -> None:
    task_id = system.add("Gone for a while")
    system("delete", task_id)
    assert "Gone for a while" in system("trash", "list").out
    assert task_id in [one["id"] for one in system.ok("trash", "list")["tasks"]]
    assert system.ok("trash", "restore", task_id[:10])["deleted_at"] is None
    assert task_id not in [one["id"] for one in system.ok("list", "--status", "trash")["tasks"]]


def test_changes_are_taken_back_one_by_one_and_an_undo_by_its_id(system: Running) -> None:
    task_id = system.add("First")
    system.ok("edit", task_id, "--title", "Second")
    shown = system("undo", "--show")
    assert "edit" in shown.out
    assert "taken back: edit of Second" in system("undo").out
    assert system.ok("show", task_id)["title"] == "First"
    latest = system.ok("undo", "--show")["steps"][0]
    assert latest["takes_back"] is True
    system.ok("undo", latest["id"])
    assert system.ok("show", task_id)["title"] == "Second"
    assert system("undo", "999999999").code == 1


def test_tasks_are_moved_and_one_reminder_is_dismissed(system: Running) -> None:
    first, second = system.add("One"), system.add("Two")
    assert system.ok("move", first, "--after", second)["position"] > system.ok("show", second)["position"]
    assert system.ok("move", first)["position"] < system.ok("show", second)["position"]
    task_id = system.ok("add", "Often", "--due", "in 5h", "--remind", "1h", "--remind", "due")["id"]
    system.ok("dismiss", task_id, "1h")
    states = [one["state"] for one in system.ok("show", task_id)["reminder_history"]]
    assert states == ["dismissed", "scheduled"]
    assert system("dismiss", task_id, "whenever").code == 1


def test_many_are_changed_at_once_and_taken_back_at_once(system: Running) -> None:
    made = [system.add(title) for title in ("A", "B")]
    results = system.ok("bulk", "edit", *made, "--change", '{"priority": 1}')["results"]
    assert [one["ok"] for one in results] == [True, True]
    system.ok("undo")
    assert {system.ok("show", one)["priority"] for one in made} == {4}
    partly = system("bulk", "complete", made[0], "0190b4f1-0000-7000-8000-000000000000")
    assert partly.code == 1
    assert "done: 1 of 2" in partly.out
    assert "there is no such task" in partly.out
    for wrong in ("{", "[]"):
        assert system("bulk", "edit", made[0], "--change", wrong).code == 2
