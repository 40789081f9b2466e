import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.backend.porting.files import read
from todo.backend.porting import own_csv

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.one_of(TEXT, st.text("'=+-@\t\r\n x", max_size=6)))
def test_a_cell_is_run_by_no_spreadsheet_and_comes_back_as_it_was(cell: str) -> None:
    written = own_csv.guarded(cell)
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert own_csv.unguarded(written) == cell


def test_what_a_person_wrote_with_an_apostrophe_stays() -> None:
    assert own_csv.unguarded("'tis") == "'tis"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=9), max_size=5))
def test_a_list_in_a_cell_comes_back_as_it_was(items: list[str]) -> None:
    assert own_csv.parted(own_csv.joined(items)) == items


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_of_ones_own_needs_a_title_only(separator: str) -> None:
    rows = [["Title", "due", "labels"], ["Milk", "2031-05-06", '"home, work"'], ["", "", ""], ["Bread", "", ""]]
    found = read(own_csv.read, "\ufeff" + "\r\n".join(separator.join(row) for row in rows))
    assert [(one.title, one.labels) for one in found.tasks] == [("Milk", ("home", "work")), ("Bread", ())]
    assert (found.losses, found.broken, found.end) == ([], [], None)


def test_what_is_wrong_is_told_with_its_line() -> None:
    text = 'title,due,priority,colour\n"two\nlines",2031-05-06,1,\nBad,soon,,\nWorse,,high,\nToo,,,,many\nGood,,,\n'
    found = read(own_csv.read, text)
    assert [one.title for one in found.tasks] == ["two lines", "Good"]
    assert [(one.line, one.entry) for one in found.broken] == [(4, 2), (5, 3), (6, 4)]
    assert found.lost == [(1, "colour")]


@pytest.mark.parametrize(
    ("text", "line"), [("", 1), ("a,b\n1,2\n", 1), ('title\n"never closed\n', 2), ('title\nok\n"a"b\n', 3)]
)
def test_a_file_that_is_no_table_is_told_with_its_line(text: str, line: int) -> None:
    found = read(own_csv.read, text)
    assert found.end is not None
    assert found.end.line == line


def test_a_cell_without_end_is_not_read_into_memory() -> None:
    found = read(own_csv.read, 'title\n"' + "x\n" * 200_000)
    assert found.end is not None
    assert "field" in found.end.problem
