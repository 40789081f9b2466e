"""The files of the web app: each is one that a browser is told the type of, and goes wherever the code goes."""

import hashlib
import json
import re
from pathlib import Path
from typing import Final

from hatchling.builders.wheel import WheelBuilder

from todo.backend.api import web

ROOT: Final = Path(__file__).parents[3]
FILES: Final = sorted(
    place for place in web.FOLDER.rglob("*") if place.is_file() and not place.name.endswith(".d.ts")
)  # declarations are read by whoever checks the types
APP: Final = web.FOLDER / "assets/app"
LATER: Final = {"types.js", "marked.js"}  # read by nobody, and only when there are notes


def test_each_file_is_served() -> None:
    """What has no path or no known type would be missing in the browser only."""
    served = {name for path, name in web.AT_THE_ROOT.items()} | {path[1:] for path in web.read_files()}
    assert [name for place in FILES if (name := place.relative_to(web.FOLDER).as_posix()) not in served] == []


def test_nested_folders_are_served_by_their_path_and_unknown_types_are_not(tmp_path: Path) -> None:
    for name in ("index.html", "sw.js", "manifest.webmanifest", "assets/a/b/c.js", "assets/a/secret.pem"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name * 100)
    files = web.read_files(tmp_path)
    assert set(files) == {"/", "/sw.js", "/manifest.webmanifest", "/assets/a/b/c.js"}
    assert files["/assets/a/b/c.js"].body == b"assets/a/b/c.js" * 100
    assert files["/assets/a/b/c.js"].media_type == "text/javascript; charset=utf-8"


def test_the_wheel_has_each_file() -> None:
    packed = {one.distribution_path for one in WheelBuilder(str(ROOT)).recurse_included_files()}
    expected = {f"todo/{place.relative_to(ROOT / 'src' / 'todo').as_posix()}" for place in FILES}
    assert "todo/backend/web/index.html" in expected
    assert expected - packed == set()


def test_the_image_has_each_file() -> None:
    """It copies the folder, of which nothing but bytecode is held back."""
    containerfile = (ROOT / "Containerfile").read_text()
    assert re.search(r"^COPY src/todo /app/src/todo$", containerfile, re.MULTILINE)
    let_through = [one for one in (ROOT / ".containerignore").read_text().splitlines() if not one.startswith("#")]
    assert "!src/todo" in let_through
    assert [one for one in let_through if not one.startswith("!")] == ["*", "**/__pycache__"]


def test_the_page_names_each_module() -> None:
    """They are asked for at once, and the service worker keeps what the page names: another is missed offline."""
    page = (web.FOLDER / "index.html").read_text()
    named = set(re.findall(r'"/assets/(?:app|vendor)/([^"]+[.]js)"', page))
    assert named == {place.name for place in FILES if place.suffix == ".js" and place.parent.name != "web"} - LATER


def test_the_page_has_nothing_inline() -> None:
    """The policy lets no script and no style in a page, so one in there would do nothing."""
    page = (web.FOLDER / "index.html").read_text()
    assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son[a-z]+=", page)
    written = {place.name: place.read_text() for place in APP.glob("*.js")}
    risky = r"innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML|\beval\(|new Function"
    assert [name for name, text in written.items() if re.search(risky, text)] == []


def test_each_library_is_listed_with_its_version_hash_and_licence() -> None:
    vendor = web.FOLDER / "assets/vendor"
    listed = json.loads((vendor / "vendor.json").read_text())["modules"]
    assert {one["file"] for one in listed} == {place.name for place in vendor.glob("*.js")}
    for one in listed:
        assert hashlib.sha256((vendor / one["file"]).read_bytes()).hexdigest() == one["sha256 of the file"]
        assert one["version"]
        assert one["license"]
        assert (vendor / f"LICENSE-{one['package'].removeprefix('@').replace('/', '-')}.txt").read_text()


def test_nothing_is_fetched_from_elsewhere() -> None:
    texts = {place.name: place.read_text() for place in [*APP.glob("*.js"), *web.FOLDER.glob("*.*")]}
    local = r"https?://(?!127[.]0[.]0[.]1|\$\{location)[^\s\"'`)]+"
    assert {name: found for name, text in texts.items() if (found := re.findall(local, text))} == {}
