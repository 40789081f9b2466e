import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.backend.porting.files import NOW
from todo.backend.porting import content_lines
from todo.backend.porting.content_lines import BadLine, ContentLine, escaped, folded, line, listed, read_lines
from todo.backend.porting.entries import Reading

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=300)


def lines_of(octets: bytes) -> list[ContentLine | BadLine]:
    return list(read_lines(io.BytesIO(octets), Reading("UTC", NOW, "", len(octets))))


@given(TEXT)
def test_a_text_comes_back_as_it_was_written(text: str) -> None:
    octets = line("SUMMARY", escaped(text))
    assert all(len(one) <= content_lines.WIDTH for one in octets.split(b"\r\n"))
    octets.decode()
    (read,) = lines_of(octets)
    assert isinstance(read, ContentLine)
    assert (read.name, read.text) == ("SUMMARY", text)


@given(st.lists(TEXT.filter(bool), max_size=5))
def test_a_list_comes_back_as_it_was_written(items: list[str]) -> None:
    (read,) = lines_of(line("CATEGORIES", listed(items)))
    assert isinstance(read, ContentLine)
    assert read.items == items


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n"), max_size=60))
def test_a_parameter_comes_back_as_it_was_written(text: str) -> None:
    (read,) = lines_of(line("DUE", "20310506", X_TODO_ZONE=text))
    assert isinstance(read, ContentLine)
    assert read.parameters == {"X-TODO-ZONE": text}


@given(st.binary(max_size=400))
def test_no_octets_are_more_than_it_can_take(octets: bytes) -> None:
    assert all(isinstance(one, ContentLine | BadLine) for one in lines_of(octets))


def test_a_line_folded_in_the_middle_of_a_character_is_put_together() -> None:
    octets = "SUMMARY:grün".encode()
    broken = octets.index(b"\xc3") + 1
    (read,) = lines_of(octets[:broken] + b"\r\n " + octets[broken:])
    assert isinstance(read, ContentLine)
    assert read.text == "grün"


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_lines_have_the_numbers_an_editor_shows(end: str) -> None:
    read = lines_of(
        end.join(["\ufeffBEGIN:VCALENDAR", "SUMMARY:a", " b", "\tc", "", "DESCRIPTION:x", "no line"]).encode()
    )
    assert [one.number for one in read] == [1, 2, 6, 7]
    assert isinstance(read[1], ContentLine)
    assert read[1].text == "abc"
    assert isinstance(read[3], BadLine)


def test_of_a_line_without_end_the_beginning_is_kept() -> None:
    octets = b"ATTACH;ENCODING=BASE64:" + b"A" * 3_000_000 + b"\r\n " + b"B" * 3_000_000 + b"\r\nSUMMARY:after\r\n"
    read = [one for one in lines_of(octets) if isinstance(one, ContentLine)]
    assert [(one.name, one.cut) for one in read] == [("ATTACH", True), ("SUMMARY", False)]
    assert max(len(one.value) for one in read) <= content_lines.LONGEST


def test_a_line_is_folded_between_characters() -> None:
    assert folded("x" * 74 + "ü") == b"x" * 74 + b"\r\n \xc3\xbc\r\n"


def test_very_many_small_pieces_are_one_line() -> None:
    octets = b"SUMMARY:" + b"a\r\n " * 100_000 + b"\r\nSTATUS:x\r\n"
    first, second = lines_of(octets)
    assert isinstance(first, ContentLine)
    assert (first.text, second.number) == ("a" * 100_000, 100_002)
