"""The executor of the guide: what is wrong on a page has to be red, and said so that it can be found."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tools.guide import expectation
from tools.guide.expectation import PatternError, agrees, difference
from tools.guide.marks import Excerpt, Figure, MarkError, NotRun, Run, mark
from tools.guide.pages import Page, PageError, read, split
from tools.guide.running import Failure, Section, check, run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the guide's commands are bash")

Written = Callable[[str], Page]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(text: str) -> Page:
        path = tmp_path / "page.md"
        path.write_text("# Page\n\n## Section\n\n" + text)
        return read(path)

    return write


def block(command: str, output: str | None = None, *, how: str = "run: host") -> str:
    shown = "" if output is None else f"\n```text\n{output}\n```\n"
    return f"<!-- {how} -->\n```bash\n{command}\n```\n{shown}\n"


def executed(page: Page, folder: Path) -> Section:
    (section,) = run(page, "host", folder, lambda _: None)
    return section


def failure(page: Page, folder: Path) -> Failure:
    found = executed(page, folder).failure
    assert found is not None
    return found


def test_commands_of_a_page_share_a_shell(written: Written, tmp_path: Path) -> None:
    """Variables, functions and the working directory last from block to block."""
    page = written(block("NAME=reader\ncd /", how="run: host silent") + block('echo "$NAME in $PWD"', "reader in /"))
    section = executed(page, tmp_path)
    assert (section.failure, section.passed, section.title) == (None, 3, "Section")


def test_a_wrong_output_is_red(written: Written, tmp_path: Path) -> None:
    """Page, line, command, what was expected and what came are told."""
    page = written(block("true\necho seven", "eight", how="run: host"))
    found = failure(page, tmp_path)
    assert (found.page, found.line, found.command) == ("page.md", 8, "echo seven")
    assert "not the one shown" in found.problem
    assert "- eight" in str(found)
    assert "+ seven" in str(found)


def test_more_output_than_shown_is_red(written: Written, tmp_path: Path) -> None:
    assert "+ warning" in str(failure(written(block("echo one; echo warning >&2", "one")), tmp_path))


def test_a_failing_command_is_red(written: Written, tmp_path: Path) -> None:
    """Not the last one only, and in a pipe not the last part only."""
    first = failure(written(block("ls /nowhere/at/all\necho done", "...")), tmp_path)
    assert (first.line, first.problem) == (7, "exit code 2 instead of 0")
    assert "No such file" in first.got
    assert failure(written(block("false | cat", "...")), tmp_path).problem == "exit code 1 instead of 0"


def test_an_expected_exit_code_is_asked_for(written: Written, tmp_path: Path) -> None:
    assert executed(written(block("(exit 3)", how="run: host silent exit=3")), tmp_path).failure is None
    assert "0 instead of 3" in failure(written(block("true", how="run: host silent exit=3")), tmp_path).problem


def test_output_of_a_silent_command_is_red(written: Written, tmp_path: Path) -> None:
    assert "silent" in failure(written(block("echo x", how="run: host silent")), tmp_path).problem


def test_a_command_that_hangs_is_red(written: Written, tmp_path: Path) -> None:
    """What it had printed is told, and nothing of it is left behind."""
    page = written(block(f"echo before; echo $$ > {tmp_path}/pid; sleep 60", "...", how="run: host timeout=1"))
    found = failure(page, tmp_path)
    assert found.problem == "it did not end within 1 s"
    assert found.got == "before\n"
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_shell_that_ends_is_red(written: Written, tmp_path: Path) -> None:
    assert "the shell itself ended" in failure(written(block("exit 0", "...")), tmp_path).problem


def test_nothing_runs_after_a_failure(written: Written, tmp_path: Path) -> None:
    page = written(block("false", "...") + block(f"touch {tmp_path}/touched\ntrue", how="run: host silent"))
    assert executed(page, tmp_path).unreached == 2
    assert not (tmp_path / "touched").exists()


def test_what_takes_its_time_is_looked_at_again(written: Written, tmp_path: Path) -> None:
    count = f"echo x >> {tmp_path}/tries; wc -l < {tmp_path}/tries"
    assert executed(written(block(count, "2", how="run: host within=20")), tmp_path).failure is None
    never = failure(written(block("echo no", "yes", how="run: host within=1")), tmp_path)
    assert "not the one shown" in never.problem


def test_a_background_command_runs_on(written: Written, tmp_path: Path) -> None:
    """The block is done when what it shows was printed; at the end of the page the command is ended."""
    page = written(
        block(f"echo $BASHPID > {tmp_path}/pid; echo up; sleep 60", "up", how="run: host background")
        + block(f"kill -0 $(cat {tmp_path}/pid)", how="run: host silent")
    )
    assert executed(page, tmp_path).failure is None
    with pytest.raises(ProcessLookupError):
        _signal((tmp_path / "pid").read_text())


def _signal(pid: str) -> None:
    import os  # noqa: PLC0415 - for this look only

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        os.kill(int(pid), 0)
        time.sleep(0.05)


def test_a_background_command_is_asked_to_end_before_it_is_made_to(written: Written, tmp_path: Path) -> None:
    """`todo up` then stops its services in order."""
    command = f"trap 'echo asked > {tmp_path}/asked; exit' TERM; echo up; sleep 60 & wait"
    executed(written(block(command, "up", how="run: host background")), tmp_path)
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_a_background_command_that_ends_is_red(written: Written, tmp_path: Path) -> None:
    found = failure(written(block("echo down", "up", how="run: host background")), tmp_path)
    assert found.problem == "it ended instead of running on"


def test_only_the_asked_place_is_run(written: Written, tmp_path: Path) -> None:
    page = written(block("false", how="run: rig silent") + block("aws kafka", how="not run: needs an account of AWS"))
    section = executed(page, tmp_path)
    assert (section.passed, section.failure, section.reasons) == (0, None, ["needs an account of AWS"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```bash\ntrue\n```\n", "line|page.md:6: this block has no mark"),
        (block("true"), "show the output"),
        (block("true", "x", how="run: host silent"), "one of them"),
        ("<!-- figure -->\n```text\na\n```\n\n```text\nb\n```\n", "no mark, and follows no command"),
        (block("true", "x").replace("\n```text", "\nBut:\n\n```text"), "no mark, and follows no command"),
        ("<!-- run: host -->\n```python\nprint()\n```\n", "only bash"),
        ("<!-- run: laptop -->\n", "`laptop` is no place"),
        ("<!-- run: host fast -->\n", "`fast` is unknown"),
        ("<!-- run: host within=soon -->\n", "`within=soon` is unknown"),
        ("<!-- not run -->\n", "says nothing"),
        ("```bash\ntrue\n", "no end"),
    ],
)
def test_a_page_that_cannot_be_run_is_red(written: Written, text: str, problem: str) -> None:
    with pytest.raises(PageError, match=problem):
        written(text)


def test_a_block_that_bash_cannot_read_is_red(written: Written) -> None:
    (found,) = check(written(block("for i in 1 2; do", how="run: host silent")))
    assert "bash wants more" in found.problem


def test_an_unknown_pattern_is_red(written: Written) -> None:
    (found,) = check(written(block("true", "<number>")))
    assert "<number> stands for nothing" in found.problem


def test_an_excerpt_stands_in_its_file(written: Written) -> None:
    """Whole lines that follow each other, indented alike; anything else is red."""
    good = '<!-- file: pyproject.toml -->\n```toml\n[project]\nname = "todo"\n```\n'
    gap = good.replace("name =", "# ...\nlicense =").replace('"todo"', '"Apache-2.0"')
    assert [*check(written(good)), *check(written(gap))] == []
    for wrong in (good.replace("todo", "tada"), good.replace("[project]\n", "[project]\n\n")):
        (found,) = check(written(wrong))
        assert "do not stand so in pyproject.toml" in found.problem
    (found,) = check(written(good.replace("pyproject", "nowhere")))
    assert "there is no file nowhere.toml" in found.problem


def test_marks() -> None:
    assert mark("<!-- run: rig timeout=5 -->") == Run("rig", timeout=5)
    assert mark("<!-- run: host within=40 -->") == Run("host", timeout=70, within=40)
    assert mark("<!-- not run: why -->") == NotRun("why")
    assert mark("<!-- file: a/b.yaml -->") == Excerpt("a/b.yaml")
    assert mark("<!-- figure -->") == Figure()
    assert mark("<!-- any other comment -->") is None
    with pytest.raises(MarkError):
        mark("<!-- run -->")


def test_commands_end_where_a_shell_would_run_them() -> None:
    text = "# why\na \\\n  b\nfor i in 1; do\n  c\ndone\ncat <<X\nline\nX\n\nd | \n  e"
    assert [(command.line, command.text) for command in split(text, 10)] == [
        (11, "a \\\n  b"),
        (13, "for i in 1; do\n  c\ndone"),
        (16, "cat <<X\nline\nX"),
        (20, "d | \n  e"),
    ]


AGREE: Final = [
    ("pod/<id>  <n>/2   Running", "pod/backend-5d4f-x2x   2/2 Running  \n"),
    ("a\n...\nz", "a\nz\n"),
    ("a\n...\nz", "a\nb\nc\nz"),
    ("took ... s", "took 3 or 4 s"),
    (
        "<time> <uid> <age> <duration> <ip>",
        "2026-01-31T09:00:00Z 3f2a0000-0000-0000-0000-000000000000 5m2s 1.5 ms 10.0.0.1",
    ),
    ("<none>", "<none>"),
    ("a.c", "\x1b[1ma.c\x1b[0m\n\n"),
]
DIFFER: Final = [
    ("a\n...\nz", "a\nzz"),
    ("a", "a\nb"),
    ("a\nb", "b\na"),
    ("a.c", "abc"),
    ("<n>", "many"),
    ("...x", "y"),
    ("a b", "ab"),
    ("a ... b", "a\nb"),
]


@pytest.mark.parametrize(("shown", "output"), AGREE)
def test_outputs_that_agree(shown: str, output: str) -> None:
    assert agrees(shown, output)


@pytest.mark.parametrize(("shown", "output"), DIFFER)
def test_outputs_that_differ(shown: str, output: str) -> None:
    assert not agrees(shown, output)
    assert difference(shown, output)


def test_a_pattern_that_is_none_is_an_error() -> None:
    with pytest.raises(PatternError, match="<what> stands for nothing"):
        agrees("<what>", "")
    assert "n" in expectation.PATTERNS
