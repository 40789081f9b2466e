"""Execute the guide: `python -m tools.guide`, or `make guide`."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.guide.marks import PLACES, NotRun, Place, Run
from tools.guide.pages import GUIDE, ROOT, Page, PageError, pages
from tools.guide.running import Failure, Section, check, run

ISOLATED: Final = "TODO_GUIDE_ISOLATED"
WHERE: Final = {"host": "on one host", "rig": "on the cluster"}
EXAMPLES: Final = """\
examples:
  python -m tools.guide                       everything: on one host, then on the cluster
  python -m tools.guide --where host          what needs no cluster
  python -m tools.guide --where rig --here    inside the cluster's namespace, as its test suite does
  python -m tools.guide secrets.md            one page; on the cluster it needs what the pages before it have made
  python -m tools.guide --check               read the pages and run nothing
"""


def main() -> int:
    asked = _arguments()
    try:
        chosen = [page for page in pages() if not asked.pages or page.path.name in asked.pages]
    except PageError as error:
        print(error, file=sys.stderr)
        return 1
    problems = [problem for page in chosen for problem in check(page)]
    if problems or asked.check:
        return _answer(problems)
    places: Sequence[Place] = [asked.where] if asked.where else PLACES
    codes = [
        _there(place, asked.pages) if _elsewhere(place, here=asked.here) else _here(place, chosen) for place in places
    ]
    return max(codes)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.guide",
        description="Run every command of docs/guide and compare what it prints with what the page shows.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = sorted(path.name for path in GUIDE.glob("*.md"))
    parser.add_argument("pages", nargs="*", metavar="PAGE", choices=[*names, []], help=", ".join(names))
    parser.add_argument("--where", choices=PLACES, help="only what runs there")
    parser.add_argument("--here", action="store_true", help="with --where: no namespace is entered")
    parser.add_argument("--check", action="store_true", help="run nothing")
    return parser.parse_args()


def _answer(problems: Sequence[Failure]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _elsewhere(place: Place, *, here: bool) -> bool:
    """Tell whether a place is entered first: the cluster's namespace, or one where the guide's ports are free."""
    if here:
        return False
    return place == "rig" or (sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare") is not None)


def _there(place: Place, names: Sequence[str]) -> int:
    again = [sys.executable, "-m", "tools.guide", "--where", place, "--here", *names]
    if place == "rig":
        way = [sys.executable, str(ROOT / "tools" / "cluster.py"), "run", "--"]
    else:
        way = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    return subprocess.run([*way, *again], cwd=ROOT, check=False).returncode  # noqa: S603 - this program again


def _here(place: Place, chosen: Sequence[Page]) -> int:
    """Run a place's part of the pages; return the exit code."""
    started = time.monotonic()
    print(f"The guide {WHERE[place]}", flush=True)
    sections: list[Section] = []
    for page in chosen:
        sections += _page(page, place)
        if place == "rig" and any(section.failure for section in sections):
            break  # the pages share a system: what comes behind would fail for what is not there
    failures = [section.failure for section in sections if section.failure is not None]
    for failure in failures:
        print(f"\n{failure}", flush=True)
    passed = sum(section.passed for section in sections)
    unreached = sum(section.unreached for section in sections)
    print(
        f"\n{WHERE[place]}: {passed} commands passed, {len(failures)} failed, {unreached} not reached,"
        f" in {time.monotonic() - started:.0f} s\n",
        flush=True,
    )
    return 1 if failures or not passed else 0


def _page(page: Page, place: Place) -> list[Section]:
    if not any(
        isinstance(block.mark, NotRun) or (isinstance(block.mark, Run) and block.mark.place == place)
        for block in page.blocks
    ):
        return []
    print(f"\n{page.headings[0].title} ({page.name})", flush=True)
    with tempfile.TemporaryDirectory(prefix="todo-guide-") as folder:
        return run(page, place, Path(folder), _tell)


def _tell(section: Section) -> None:
    if section.failure is not None:
        told = f"FAILED after {section.passed} commands"
    elif section.unreached:
        told = f"{section.unreached} commands not reached"
    elif section.passed:
        told = f"{section.passed} commands passed in {section.seconds:.1f} s"
    else:
        told = ""
    if told:
        print(f"  {section.title:<52} {told}", flush=True)
    for reason in section.reasons:
        print(f"  {section.title:<52} not executable here: {reason}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
