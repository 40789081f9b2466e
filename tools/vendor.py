"""The web app's libraries, as they are served: `python tools/vendor.py` copies them from npm's packages (needs npm).

tools/web/package-lock.json pins versions and hashes. A module that imports another by its package's name gets a
relative path instead: an import map would have to stand in the page itself, and the page's policy lets no script in
there. The declarations beside them are for checking types. With `--check` nothing is written; it fails when what is
committed is not what the packages give.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
WEB: Final = HERE / "web"
VENDOR: Final = HERE.parent / "src/todo/backend/web/assets/vendor"
MODULES: Final = {  # package, its module, the name under which others import it
    "preact.js": ("preact", "dist/preact.mjs", "preact"),
    "hooks.js": ("preact", "hooks/dist/hooks.mjs", "preact/hooks"),
    "signals-core.js": ("@preact/signals-core", "dist/signals-core.mjs", "@preact/signals-core"),
    "signals.js": ("@preact/signals", "dist/signals.mjs", "@preact/signals"),
    "htm.js": ("htm", "dist/htm.mjs", "htm"),
    "marked.js": ("marked", "lib/marked.esm.js", "marked"),
}
_DEFAULT: Final = {"htm": 'export { default } from "htm";\n'}
_IMPORT: Final = re.compile(r'(?<=from)"([^"./][^"]*)"')
_MAP: Final = re.compile(r"^//# sourceMappingURL=.*\n?", re.MULTILINE)


def files() -> Iterator[tuple[str, str]]:
    """Every file of the folder, as name and text. Raises `KeyError` for an import of what is not vendored."""
    paths = {imported: f"./{name}" for name, (_, _, imported) in MODULES.items()}
    listed = []
    for name, (package, module, imported) in MODULES.items():
        root = WEB / "node_modules" / package
        text = _MAP.sub("", (root / module).read_text()).rstrip("\n") + "\n"
        text = _IMPORT.sub(lambda match: f'"{paths[match[1]]}"', text)
        yield name, text
        yield name.replace(".js", ".d.ts"), f'export * from "{imported}";\n{_DEFAULT.get(imported, "")}'
        yield f"LICENSE-{package.removeprefix('@').replace('/', '-')}.txt", _license(root)
        listed.append(_entry(name, package, root, text))
    yield "vendor.json", json.dumps({"modules": listed}, indent=2) + "\n"


def _license(root: Path) -> str:
    return next(path for path in sorted(root.iterdir()) if path.name.lower().startswith("license")).read_text()


def _entry(name: str, package: str, root: Path, text: str) -> Mapping[str, str]:
    about = json.loads((root / "package.json").read_text())
    lock = json.loads((WEB / "package-lock.json").read_text())["packages"][f"node_modules/{package}"]
    return {
        "file": name,
        "package": package,
        "version": about["version"],
        "license": about["license"],
        "integrity of the package": lock["integrity"],
        "sha256 of the file": hashlib.sha256(text.encode()).hexdigest(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    check = parser.parse_args().check
    npm = shutil.which("npm") or sys.exit("npm is missing: it comes with Node.js 20 or newer")
    subprocess.run([npm, "ci", "--silent"], cwd=WEB, check=True)  # noqa: S603 - arguments of ours
    wanted = dict(files())
    if check:
        there = {path.name: path.read_text() for path in VENDOR.iterdir()}
        different = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
        if different:
            sys.exit(f"not what the packages give: {', '.join(different)}; run python tools/vendor.py")
        return
    VENDOR.mkdir(parents=True, exist_ok=True)
    for path in VENDOR.iterdir():
        path.unlink()
    for name, text in wanted.items():
        (VENDOR / name).write_text(text)


if __name__ == "__main__":
    main()
