"""`todo export` and `todo import` against a whole system."""

import json
from pathlib import Path

from tests.integration.cli.conftest import Running


def test_tasks_go_into_a_file_and_come_out_of_it_once(system: Running, tmp_path: Path) -> None:
    system.ok("add", "Carry me over", "--due", "2031-05-06T09:00", "--repeat", "monthly")
    file = tmp_path / "tasks.ics"
    written = system.ok("export", str(file))
    assert written == {"file": str(file), "bytes": file.stat().st_size}
    assert "SUMMARY:Carry me over" in file.read_text()
    assert list(tmp_path.iterdir()) == [file]
    again = system("import", str(file), "--write")
    assert (again.code, "0 imported" in again.out) == (0, True)


def test_a_file_is_looked_at_before_it_is_imported(system: Running, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("title,priority,colour\nFrom a table,9,red\n")
    looked = system("import", str(file))
    assert looked.code == 0
    assert "line 1: colour: there is no such column here: left out" in looked.err
    assert "line 2: priority: 9 is none of 1 to 4: 4 (none) is used" in looked.err
    assert "add --write" in looked.out
    assert "From a table" not in system("list").out
    report = [json.loads(line) for line in system("import", str(file), "--write", "--json").out.splitlines()]
    assert report[-1]["done"]["imported"] == 1
    assert "From a table" in system("list").out


def test_a_broken_file_imports_nothing_and_ends_with_1(system: Running, tmp_path: Path) -> None:
    file = tmp_path / "broken.csv"
    file.write_text("title,due\nWhole,\nBroken,soon\n")
    refused = system("import", str(file), "--write")
    assert refused.code == 1
    assert "line 3: due:" in refused.err
    assert "nothing is imported" in refused.out
    assert system("import", str(file), "--write", "--partial").code == 0


def test_what_a_file_is_shows_in_its_name_and_first_line(system: Running, tmp_path: Path) -> None:
    todoist = tmp_path / "Household.csv"
    todoist.write_text("TYPE,CONTENT,PRIORITY,INDENT,DATE\ntask,Sweep @floor,1,1,every day\n")
    report = system("import", str(todoist), "--json").out.splitlines()
    assert json.loads(report[-1])["done"]["tasks"] == 1
    unknown = tmp_path / "tasks.txt"
    unknown.write_text("title\n")
    assert system("import", str(unknown)).code == 2
    assert system("import", str(tmp_path / "none.csv")).code == 2


def test_an_export_to_stdout_is_the_file(system: Running) -> None:
    system.ok("add", "To stdout")
    printed = system("export")
    assert printed.code == 0
    assert "To stdout" in [task["title"] for task in json.loads(printed.out)["tasks"]]
