"""The web app: the files of `backend/web`, read once when the service starts, and served to anybody.

What is asked for is looked up among these files, so that no path leads anywhere else. Clients keep them and ask by
ETag whether they are still good: a new version is there with the next load, and no name needs a number in it.
"""

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER: Final = Path(__file__).parents[1] / "web"
ASSETS: Final = "/assets/"
AT_THE_ROOT: Final = {
    "/": "index.html",
    "/sw.js": "sw.js",
    "/manifest.webmanifest": "manifest.webmanifest",
}  # a service worker controls no more than what is below its own place

# By suffix: what has none of these is not served.
_TEXT: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
_BINARY: Final = {
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
TYPES: Final = _TEXT | _BINARY

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "cache-control": "no-cache",
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "same-origin",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}
_WORTH_IT: Final = 256  # bytes; below that gzip gains nothing


@dataclass(frozen=True, slots=True)
class File:
    """One file as it is sent: whole, and compressed where that is worth it."""

    media_type: str
    body: bytes
    compressed: bytes | None
    tag: str  # of its content

    def etag(self, *, compressed: bool) -> str:
        """A strong ETag names bytes, so the two forms have one each."""
        return f'"{self.tag}-gzip"' if compressed else f'"{self.tag}"'


def read_files(folder: Path = FOLDER) -> dict[str, File]:
    """Every file by the path it is served at."""
    return {path: _read(place) for path, place in _places(folder)}


def routes(files: Mapping[str, File]) -> list[Route]:
    """The routes of these files. A path below `ASSETS` that is none of theirs is answered 404."""

    async def serve(request: Request) -> Response:
        file = files.get(request.scope["path"])
        if file is None:
            raise HTTPException(404, "the web app has no such file")
        return _answer(file, request.headers.get("accept-encoding", ""), request.headers.get("if-none-match", ""))

    return [Route(path, serve) for path in (*AT_THE_ROOT, f"{ASSETS}{{path:path}}")]


def _places(folder: Path) -> Iterator[tuple[str, Path]]:
    for path, name in AT_THE_ROOT.items():
        yield path, folder / name
    for place in sorted((folder / "assets").rglob("*")):
        if place.suffix in TYPES and place.is_file():
            yield "/" + place.relative_to(folder).as_posix(), place


def _read(place: Path) -> File:
    body = place.read_bytes()
    is_compressed = place.suffix in _TEXT and len(body) >= _WORTH_IT
    compressed = gzip.compress(body, mtime=0) if is_compressed else None
    return File(TYPES[place.suffix], body, compressed, hashlib.sha256(body).hexdigest()[:32])


def _answer(file: File, accepted: str, known: str) -> Response:
    compressed = file.compressed if _takes_gzip(accepted) else None
    headers = _HEADERS | {"etag": file.etag(compressed=compressed is not None)}
    if _is_known(headers["etag"], known):
        return Response(status_code=304, headers=headers)
    if compressed is not None:
        return Response(compressed, headers=headers | {"content-encoding": "gzip"}, media_type=file.media_type)
    return Response(file.body, headers=headers, media_type=file.media_type)


def _is_known(etag: str, known: str) -> bool:
    """If-None-Match compares weakly (RFC 9110, 13.1.2): proxies that compress make ETags weak."""
    return known.strip() == "*" or etag in {one.strip().removeprefix("W/") for one in known.split(",")}


def _takes_gzip(accepted: str) -> bool:
    for one in accepted.lower().split(","):
        coding, _, quality = one.partition(";")
        if coding.strip() in {"gzip", "*"}:
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
