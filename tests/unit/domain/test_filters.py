import datetime as dt
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.filters import awaited, nodes, terms
from todo.domain.filters import EVERYTHING, MAX_LENGTH, Fault, FilterError, Node, all_of, parse, walk, write
from todo.domain.filters.completion import begun, completions
from todo.domain.filters.days import TODAY, TOMORROW, Shift, Unit, Weekday, read_day, resolve
from todo.domain.filters.faults import index_of, units
from todo.domain.filters.tree import (
    And,
    Field,
    Has,
    InList,
    Is,
    Label,
    Not,
    Or,
    Overdue,
    Priority,
    Repeats,
    Side,
    Subtask,
    Term,
    Text,
    Thing,
    Undated,
    When,
    any_of,
    speaks_of_closed,
)
from todo.domain.task import Status

A, B, C = Text("a"), Text("b"), Text("c")
WEEK = Shift(7, Unit.DAY)
TUESDAY = dt.date(2031, 5, 6)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("", EVERYTHING),
        (" \t\n", EVERYTHING),
        (
            "#home & (overdue | due before: +7d) & !1",
            And((Label("home"), Or((Overdue(), When(Field.DUE, Side.BEFORE, WEEK))), Priority("=", 1))),
        ),
        ("a b", And((A, B))),
        ("a & b", And((A, B))),
        ("a && b", And((A, B))),
        ("a und b", And((A, B))),
        ("a AND b", And((A, B))),
        ("a | b c", Or((A, And((B, C))))),
        ("a oder b", Or((A, B))),
        ("a|b", Or((A, B))),
        ("(a | b) c", And((Or((A, B)), C))),
        ("((a))", A),
        ("a (b c)", And((A, B, C))),
        ("-a", Not(A)),
        ("--a", Not(Not(A))),
        ("not a", Not(A)),
        ("nicht a b", And((Not(A), B))),
        ("-(a | b)", Not(Or((A, B)))),
        ("#home", Label("home")),
        ('#"two  words"', Label("two words")),
        (r'#"a \"b\" \\"', Label(r'a "b" \ '.strip())),
        ("#and", Label("and")),
        ("-#home", Not(Label("home"))),
        ("@Work", InList("Work")),
        ('@"At home"', InList("At home")),
        ("no list", InList(None)),
        ("!1", Priority("=", 1)),
        ("!=2", Priority("=", 2)),
        ("!<=2", Priority("<=", 2)),
        ("!>3", Priority(">", 3)),
        ("today", When(Field.DUE, Side.ON, TODAY)),
        ("morgen", When(Field.DUE, Side.ON, TOMORROW)),
        ("due: today", When(Field.DUE, Side.ON, TODAY)),
        ("due:tomorrow", When(Field.DUE, Side.ON, TOMORROW)),
        ("Due: Heute", When(Field.DUE, Side.ON, TODAY)),
        ("due before: 2031-05-06", When(Field.DUE, Side.BEFORE, TUESDAY)),
        ("due before +7d", When(Field.DUE, Side.BEFORE, WEEK)),
        ("due before:+7d", When(Field.DUE, Side.BEFORE, WEEK)),
        ("due after: friday", When(Field.DUE, Side.AFTER, Weekday(4))),
        ("due after: fr", When(Field.DUE, Side.AFTER, Weekday(4))),
        ("start before: +1m", When(Field.START, Side.BEFORE, Shift(1, Unit.MONTH))),
        ("created after: -7d", When(Field.CREATED, Side.AFTER, Shift(-7, Unit.DAY))),
        ("closed after:-1y", When(Field.CLOSED, Side.AFTER, Shift(-1, Unit.YEAR))),
        ("no date", Undated()),
        ("no label", Not(Has(Thing.LABELS))),
        ("overdue", Overdue()),
        ("überfällig", Overdue()),
        ("repeats", Repeats()),
        ("subtask", Subtask()),
        ("has:notes", Has(Thing.NOTES)),
        ("has: reminders", Has(Thing.REMINDERS)),
        ("is:open", Is(Status.OPEN)),
        ("IS:Done", Is(Status.DONE)),
        ("is:skipped", Is(Status.SKIPPED)),
        ("no", Text("no")),
        ("no milk", And((Text("no"), Text("milk")))),
        ("due", Text("due")),
        ("due soon", And((Text("due"), Text("soon")))),
        ('"today"', Text("today", phrase=True)),
        ('"two words"', Text("two words", phrase=True)),
        (r'"a \"b\""', Text('a "b"', phrase=True)),
        ("https://a.test/b", Text("https://a.test/b")),
        ("C#", Text("C#")),
        ("foo-bar", Text("foo-bar")),
        ("🎉", Text("🎉")),
    ],
)
def test_what_a_filter_means(text: str, node: Node) -> None:
    """Each form of the language is read as the tree that it stands for."""
    assert parse(text) == node


@pytest.mark.parametrize(
    ("text", "start", "end", "problem", "fix"),
    [
        ("#", 0, 1, "names no label", '#"two words"'),
        ('a @""', 2, 5, "names no list", "@home"),
        (f"#{'x' * 51}", 0, 52, "51 characters", "1 to 50"),
        ("!5", 0, 2, "no priority", "!1 to !4"),
        ("!important", 0, 10, "no priority", "write - before it"),
        ("a - b", 2, 3, "stands alone", "-#home"),
        ('a "b', 2, 3, "never closed", 'add "'),
        ('a ""', 2, 4, "nothing between", "words to look for"),
        ("a (b", 2, 3, "never closed", "add )"),
        ("a) b", 1, 2, "never opened", "remove it"),
        ("()", 1, 2, "missing before )", "write a term"),
        ("| a", 0, 1, "missing before |", "write a term"),
        ("a & | b", 4, 5, "missing before |", "write a term"),
        ("a &", 3, 3, "missing at the end", "write what follows"),
        ("a -(", 4, 4, "missing at the end", "write what follows"),
        ("not", 3, 3, "missing at the end", "write what follows"),
        ("due:", 0, 4, "a day is missing", "+7d"),
        ("due before", 4, 10, "a day is missing", "+7d"),
        ("due: #home", 0, 4, "a day is missing", "+7d"),
        ("due before: soon", 12, 16, "soon is no day", "2026-12-24"),
        ("due: 2031-02-30", 5, 15, "is no day", "2026-12-24"),
        ("due: 0001-01-01", 5, 15, "is no day", "2026-12-24"),
        ("due: +99999d", 5, 12, "is no day", "2026-12-24"),
        ("has:money", 4, 9, "something else", "has:notes"),
        ("is:", 0, 3, "something else", "is:open"),
        ("a\x00b", 1, 2, "U+0000", "remove it"),
        ("🎉 !9", 3, 5, "no priority", "!1 to !4"),
        ("x" * 501, 500, 501, "at most 500", "leave something out"),
        ("(" * 21 + "a" + ")" * 21, 20, 21, "nested more than 20", "fewer parentheses"),
        ("-" * 21 + "a", 20, 21, "nested more than 20", "fewer parentheses"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_its_fix(
    text: str, start: int, end: int, problem: str, fix: str
) -> None:
    """A fault has the offsets of what is wrong, counted in UTF-16 code units, and says what would be right."""
    with pytest.raises(FilterError) as raised:
        parse(text)
    (fault,) = raised.value.faults
    assert (fault.start, fault.end) == (start, end)
    assert problem in fault.problem
    assert fix in fault.fix
    assert str(raised.value).startswith(f"filter: at character {start + 1}: ")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """Faults that have nothing to do with each other are all found, in the order of the text."""
    with pytest.raises(FilterError) as raised:
        parse("!9 # due: soon (a")
    assert [fault.start for fault in raised.value.faults] == [0, 3, 10, 15]


@given(nodes(terms | awaited))
def test_a_tree_survives_being_written(node: Node) -> None:
    """What is written is read as the same tree."""
    assert parse(write(node)) == node


@given(st.text(alphabet='ab#@!"\\()&|-:<=12+d \n🎉\ud800', max_size=40) | st.text(max_size=MAX_LENGTH))
@settings(max_examples=300)
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text is anything but a tree that can be written and read again, or faults within the text."""
    read = _read(text)
    if isinstance(read, FilterError):
        assert all(_lies_in(text, fault) for fault in read.faults)
    else:
        assert parse(write(read)) == read


@given(st.text(alphabet='ab#@!"\\()&|-:<=12+ due🎉', max_size=40), st.data())
def test_any_place_can_be_completed(text: str, data: st.DataObject) -> None:
    """A completion replaces a stretch of the text that the cursor is in or at."""
    at = data.draw(st.integers(0, units(text, len(text)) + 3))
    place = begun(text, at)
    for one in completions(place, ["home"]):
        assert 0 <= one.start <= one.end <= units(text, len(text))
        assert one.start <= min(at, units(text, len(text)))


def _read(text: str) -> Node | FilterError:
    try:
        return parse(text)
    except FilterError as error:
        return error


def _lies_in(text: str, fault: Fault) -> bool:
    return 0 <= fault.start <= fault.end <= units(text, len(text))


@pytest.mark.parametrize(
    ("text", "inserted", "start"),
    [
        ("", "overdue", 0),
        ("ov", "overdue", 0),
        ("a & Due", "due before: ", 4),
        ("due ", "before: ", 4),
        ("due b", "before: ", 4),
        ("due before: f", "friday", 12),
        ("due:to", "tomorrow", 4),
        ("!", "!1", 0),
        ("has:", "has:notes", 0),
        ("#home ", "& ", 6),
        ("🎉 (#ho", "#home", 4),
        ('#"ho', "#home", 0),
        ("#wo", '#"work (old)"', 0),
        ("@", "@home", 0),
    ],
)
def test_what_can_be_written_at_the_end(text: str, inserted: str, start: int) -> None:
    """Keywords, days, priorities and names are offered where they fit, for what was begun."""
    names = ["work (old)"] if text.startswith("#w") else ["home"]
    found = completions(begun(text, units(text, len(text))), names)
    assert (inserted, start, units(text, len(text))) in [(one.insert, one.start, one.end) for one in found]


def test_within_a_word_the_whole_word_is_replaced() -> None:
    """A completion in the middle of a label takes the place of all of it."""
    (found,) = completions(begun("a #home b", 4), ["house"])
    assert (found.insert, found.start, found.end) == ("#house", 2, 7)


@pytest.mark.parametrize(
    ("text", "ahead", "behind"),
    [
        ("today", "2031-05-06", "2031-05-06"),
        ("+7d", "2031-05-13", "2031-05-13"),
        ("-2w", "2031-04-22", "2031-04-22"),
        ("+10m", "2032-03-06", "2032-03-06"),
        ("-1y", "2030-05-06", "2030-05-06"),
        ("tuesday", "2031-05-06", "2031-05-06"),
        ("monday", "2031-05-12", "2031-05-05"),
        ("mittwoch", "2031-05-07", "2031-04-30"),
        ("2031-12-24", "2031-12-24", "2031-12-24"),
    ],
)
def test_which_date_a_day_is(text: str, ahead: str, behind: str) -> None:
    """Weekdays are the nearest to come, or where one looks back the nearest that was; today counts."""
    day = read_day(text)
    assert day is not None
    assert (str(resolve(day, TUESDAY)), str(resolve(day, TUESDAY, back=True))) == (ahead, behind)


def test_months_end_in_their_month() -> None:
    """A month after the 31st of January is the last of February."""
    assert resolve(Shift(1, Unit.MONTH), dt.date(2032, 1, 31)) == dt.date(2032, 2, 29)
    assert resolve(Shift(1, Unit.YEAR), dt.date(2032, 2, 29)) == dt.date(2033, 2, 28)


def test_groups_of_one_kind_are_one_group() -> None:
    """A list in a list of the same kind is one list, and of one part it is the part."""
    assert all_of([A, all_of([B, C])]) == And((A, B, C))
    assert any_of([any_of([A, B]), C]) == Or((A, B, C))
    assert all_of([A]) == any_of([A]) == A
    assert len(list(walk(Not(And((A, Or((B, C)))))))) == 6


def test_a_filter_that_names_states_decides_about_them_itself() -> None:
    """`is:` and `closed` say which tasks are wanted; whoever lists need not ask for open ones."""
    assert speaks_of_closed(parse("a | -is:open"))
    assert speaks_of_closed(parse("closed after: -7d"))
    assert not speaks_of_closed(parse("overdue & created: today"))


def test_offsets_are_those_of_a_browser() -> None:
    """A character beyond the basic plane counts twice, and an offset within it is its own."""
    assert [units("a🎉b", index) for index in range(4)] == [0, 1, 3, 4]
    assert [index_of("a🎉b", offset) for offset in range(6)] == [0, 1, 1, 2, 3, 3]


PAGE = (Path(__file__).parents[3] / "docs" / "filters.md").read_text()
LANGUAGE = PAGE.partition("## The language")[2].partition("## While it is written")[0]
FORMS = [form for row in re.findall(r"^\| (`.*?`) \|", LANGUAGE, re.MULTILINE) for form in re.findall("`(.+?)`", row)]
EXAMPLES = LANGUAGE.partition("```text\n")[2].partition("```")[0].splitlines()


@pytest.mark.parametrize("text", [*FORMS, *EXAMPLES])
def test_what_the_documentation_shows_can_be_written(text: str) -> None:
    """Each form of the page's table is one condition, and each example is a filter."""
    node = parse(text)
    assert text in EXAMPLES or not isinstance(node, And | Or)


def test_the_documentation_shows_every_kind_of_condition() -> None:
    """Whatever a filter can say is in the table."""
    kinds = {type(one) for form in FORMS for one in walk(parse(form))}
    assert kinds >= set(Term.__args__)
