"""The guide as it stands in docs/guide, without running it: complete, executable, true to the original."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from mkdocs.config import load_config

from tools.guide import reference
from tools.guide.marks import NotRun, Run
from tools.guide.pages import COMMANDS, GUIDE, ROOT, Page, pages
from tools.guide.running import check
from tools.guide.site import PAGES

ORIGINAL: Final = Path(__file__).parents[2] / "data" / "guide" / "headings.md"
PROOF: Final = re.compile(r"`((?:tests|daprlet/tests)/[\w/]+\.py)(?:::(\w+))?`")


@pytest.fixture(scope="module")
def guide() -> list[Page]:
    return pages()


def test_every_block_can_be_run_or_says_why_not(guide: list[Page]) -> None:
    """Each has a mark, each command an output, excerpts stand in their files, patterns are known."""
    assert [str(problem) for page in guide for problem in check(page)] == []


def test_only_what_needs_a_cloud_or_a_registry_is_not_run(guide: list[Page]) -> None:
    reasons = [block.mark.reason for page in guide for block in page.blocks if isinstance(block.mark, NotRun)]
    assert all(re.search(r"cloud|AWS|MSK|registry|repository", reason) for reason in reasons), reasons
    run = [block for page in guide for block in page.blocks if isinstance(block.mark, Run)]
    assert len(run) > 10 * len(reasons) / 2
    assert all(block.fence.language in COMMANDS for block in run)


def test_no_output_is_left_open_altogether(guide: list[Page]) -> None:
    """An output that is nothing but `...` would agree with anything; streams are the exception."""
    open_ones = [
        f"{page.name}:{block.output.line}"
        for page in guide
        for block in page.blocks
        if block.output is not None and not block.output.text.replace("...", "").strip()
        if not (isinstance(block.mark, Run) and block.mark.background)
    ]
    assert open_ones == []


def test_the_tree_of_headings_is_the_originals(guide: list[Page]) -> None:
    """Its headings are there, in their order and below the same parents; others may stand between them."""
    ours = list(_tree(_headings(guide)))
    rest = iter(ours)
    missing = [path for path in _tree(_original()) if path not in rest]
    assert missing == []


def _headings(guide: list[Page]) -> Iterator[tuple[int, str]]:
    """A page of a section begins with the heading that the original has one level below its title."""
    for page in guide:
        lower = 0 if page.path.name == "index.md" else 1
        yield from ((heading.level + lower, heading.title) for heading in page.headings)


def _original() -> Iterator[tuple[int, str]]:
    for line in ORIGINAL.read_text().splitlines():
        level, _, title = line.partition(" ")
        yield len(level), title


def _tree(headings: Iterator[tuple[int, str]]) -> Iterator[tuple[str, ...]]:
    path: list[str] = []
    for level, title in headings:
        del path[level - 1 :]
        path.append(title)
        yield tuple(path)


def test_each_proof_in_the_errata_is_a_test() -> None:
    proofs = PROOF.findall((GUIDE / "errata.md").read_text())
    assert len(proofs) > 30
    missing = [
        f"{file}::{name}"
        for file, name in proofs
        if not (ROOT / file).is_file() or (name and f"def {name}(" not in (ROOT / file).read_text())
    ]
    assert missing == []


def test_the_errata_have_a_proof_in_every_row() -> None:
    rows = [line for line in (GUIDE / "errata.md").read_text().splitlines() if line.startswith("| ")]
    heads = {"| the original "}
    bare = [
        row
        for row in rows
        if not row.startswith(tuple(heads)) and not PROOF.search(row) and "](" not in row and "the same" not in row
        if "all of this guide" not in row
    ]
    assert bare == []


def test_the_site_builds_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every link and anchor leads somewhere, every page is in the navigation, nothing is fetched by a reader."""
    from mkdocs.commands.build import build  # noqa: PLC0415 - its import is slow, and only this test needs it

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True))
    page = (tmp_path / "site" / "guide" / "secrets.html").read_text()
    assert "&lt;!--" not in page  # the executor's marks are no text
    assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', page)
    assert (tmp_path / "site" / "reference" / "api.html").is_file()


def test_the_reference_names_every_topic_and_every_route() -> None:
    events, api = reference.events(), reference.api()
    assert set(PAGES.values()) == {reference.events, reference.api}
    for topic in ("task-events", "task-reminders", "reminder-deliveries", "task-occurrences", "dead-letters"):
        assert f"### `{topic}`" in events
    for operation in ("POST `/tasks`", "GET `/tasks/{task_id}/why`", "PATCH `/users/{user_id}`"):
        assert f"## {operation}" in api
    for page in (events, api):
        anchors = {title.lower() for title in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
        assert set(re.findall(r"\]\(#(\w+)\)", page)) <= anchors
