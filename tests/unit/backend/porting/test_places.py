"""Lists and parents of a file, before anything is stored."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.backend.porting.files import BERLIN, Read, read
from todo.backend.porting import own_json
from todo.backend.porting.checking import as_label, task_id
from todo.backend.porting.entries import Loss
from todo.backend.porting.places import Child, Names, Tree, origin_of
from todo.backend.store.porting import Standing
from todo.domain.task import MAX_LABELS, MAX_SUBTASKS
from todo.domain.tasklist import MAX_LISTS


def document(**fields: Any) -> Read:  # noqa: ANN401 - JSON
    return read(own_json.read, json.dumps({"format": "todo", "version": 1, "tasks": [{"title": "a"} | fields]}))


def ids(*numbers: int) -> list[UUID]:
    return [UUID(int=number) for number in numbers]


def grown(pairs: dict[int, int], standing: list[Standing] = [], among: int = 300) -> tuple[dict[int, int], list[Loss]]:  # noqa: B006 - is only read
    """Who is under whom, of a file with the tasks 1 to `among`, and what was lost."""
    tree = Tree({UUID(int=own): Child(own, own, "", UUID(int=up), None) for own, up in pairs.items()})
    lists = {UUID(int=number).bytes: "" for number in range(1, among + 1)}
    losses = tree.settle({one.id: one for one in standing}, lists)
    return {own.int: up.int for own, up in tree.under.items()}, losses


def stored(number: int, *, deleted: bool = False, parent: int | None = None, subtasks: int = 0) -> Standing:
    return Standing(UUID(int=number), deleted, UUID(int=parent) if parent else None, None, "", subtasks)


def test_a_parent_may_come_before_its_subtasks_or_after_them() -> None:
    assert grown({1: 2, 3: 2}) == ({1: 2, 3: 2}, [])


def test_what_is_deeper_is_under_the_topmost_and_reported() -> None:
    under, losses = grown({1: 2, 2: 3, 4: 1})
    assert under == {1: 3, 2: 3, 4: 3}
    assert sorted((one.entry, one.field) for one in losses) == [(1, "parent"), (4, "parent")]


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        ([], {}),
        ([stored(900)], {1: 900}),
        ([stored(900, deleted=True)], {}),
        ([stored(900, parent=800), stored(800)], {1: 800}),
        ([stored(900, subtasks=MAX_SUBTASKS - 1)], {1: 900}),
        ([stored(900, subtasks=MAX_SUBTASKS)], {}),
    ],
)
def test_a_parent_that_is_not_in_the_file_is_one_that_is_there(
    standing: list[Standing], expected: dict[int, int]
) -> None:
    under, losses = grown({1: 900}, standing)
    assert under == expected
    assert bool(losses) is (expected != {1: 900})


def test_more_subtasks_than_a_task_may_have_are_tasks_of_their_own() -> None:
    under, losses = grown(dict.fromkeys(range(2, 152), 1))
    assert list(under) == list(range(2, 2 + MAX_SUBTASKS))
    assert [one.entry for one in losses] == list(range(102, 152))


@given(st.dictionaries(st.integers(1, 30), st.integers(1, 30), max_size=30))
def test_whatever_is_said_there_is_one_level_and_each_change_is_told(pairs: dict[int, int]) -> None:
    under, losses = grown(pairs, among=30)
    assert not set(under) & set(under.values())
    assert {own for own, up in pairs.items() if under.get(own) != up} == {one.entry for one in losses}


def test_a_subtask_that_repeats_is_a_task_of_its_own() -> None:
    parent = ids(1)[0]
    found = document(parent=str(parent), due="2031-05-06", recurrence={"rule": "FREQ=DAILY"})
    assert [field for _, field in found.lost] == ["parent"]
    assert found.checked[0].entry.parent_source == ""
    plain = document(parent=str(parent)).checked[0].entry.parent_source
    assert origin_of(plain) == parent
    assert task_id(BERLIN.id, plain) != parent


def test_a_list_that_finds_no_room_is_a_label() -> None:
    names = Names(f"List {number}" for number in range(MAX_LISTS - 1))
    assert [names.has(name) for name in ("LIST 7", "New", "Newer", "nEW")] == [True, True, False, True]
    checked = document(list="Newer", labels=["x"]).checked[0]
    assert as_label(checked).task.labels == ("x", "Newer")
    assert [(one.field, one.instead) for one in checked.entry.losses] == [("list", "kept as the label 'Newer'")]
    full = document(list="Newer", labels=[str(number) for number in range(MAX_LABELS)]).checked[0]
    assert len(as_label(full).task.labels) == MAX_LABELS
    assert full.entry.losses[0].instead == "left out"


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"start": "2031-05-07", "due": "2031-05-06"}, "start"),
        ({"start": "1066-10-14"}, "start"),
        ({"position": "?"}, "position"),
        ({"position": "a0"}, "position"),
        ({"position": "a" * 501}, "position"),
        ({"list": "l" * 101}, "list"),
        ({"list": "a\x00b"}, "list"),
    ],
)
def test_what_no_task_may_have_is_reported(fields: dict[str, str], lost: str) -> None:
    assert [field for _, field in document(**fields).lost] == [lost]


def test_start_position_and_list_are_as_they_were_said() -> None:
    found = document(start="2031-05-05", due="2031-05-06T09:00", zone="Asia/Tokyo", position="06aV", list=" At  home ")
    task = found.task
    assert task.start is not None
    assert (task.start.zone, task.start.value.isoformat(), task.position) == ("Asia/Tokyo", "2031-05-05", "06aV")
    assert (found.checked[0].entry.list_name, found.losses) == ("At home", [])
