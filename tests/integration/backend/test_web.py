"""The web app as a browser gets it: its files, to anybody, and nothing beside them."""

import gzip
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import pytest
from yarl import URL

from tests.integration.backend.callers import Guarded
from tests.integration.backend.service import Running
from todo.backend.api import web

FILES: Final = web.read_files()
PLAIN: Final = {"accept-encoding": "identity"}
DIRECTIVES: Final = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "manifest-src 'self'",
    "worker-src 'self'",
    "font-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
}


@pytest.fixture
async def http(service: Running) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(service.base, auto_decompress=False) as http:
        yield http


@pytest.mark.parametrize("path", FILES)
async def test_every_file_comes_with_its_type_and_the_policy(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path, headers=PLAIN) as answer:
        assert answer.status == 200
        assert await answer.read() == FILES[path].body
        assert answer.headers["content-type"] == FILES[path].media_type
        assert set(answer.headers["content-security-policy"].split("; ")) == DIRECTIVES
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-cache"


async def test_the_page_names_only_files_that_are_there(http: aiohttp.ClientSession) -> None:
    async with http.get("/", headers=PLAIN) as answer:
        page = await answer.text()
    assert answer.content_type == "text/html"
    for path in ("/manifest.webmanifest", "/assets/app.css", "/assets/app/main.js"):
        assert f'"{path}"' in page
        assert path in FILES


@pytest.mark.parametrize("path", FILES)
async def test_what_a_browser_has_is_not_sent_again(http: aiohttp.ClientSession, path: str) -> None:
    for coding in ("identity", "gzip"):
        async with http.get(path, headers={"accept-encoding": coding}) as first:
            etag = first.headers["etag"]
        for known in (etag, f'"other", W/{etag}', "*"):
            headers = {"accept-encoding": coding, "if-none-match": known}
            async with http.get(path, headers=headers) as again:
                assert (again.status, await again.read(), again.headers["etag"]) == (304, b"", etag)
                assert set(again.headers["content-security-policy"].split("; ")) == DIRECTIVES
        async with http.get(path, headers={"accept-encoding": coding, "if-none-match": '"other"'}) as other:
            assert other.status == 200


async def test_text_is_compressed_for_those_who_take_it(http: aiohttp.ClientSession) -> None:
    async with http.get("/", headers={"accept-encoding": "br, gzip;q=0.5"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["vary"] == "accept-encoding"
        assert gzip.decompress(await answer.read()) == FILES["/"].body
        compressed = answer.headers["etag"]
    for accepted in ("identity", "gzip;q=0", "br"):
        async with http.get("/", headers={"accept-encoding": accepted}) as answer:
            assert "content-encoding" not in answer.headers
            assert await answer.read() == FILES["/"].body
            assert answer.headers["etag"] != compressed


async def test_head_tells_what_get_would_send(http: aiohttp.ClientSession) -> None:
    async with http.head("/", headers=PLAIN) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.headers["content-length"] == str(len(FILES["/"].body))


@pytest.mark.parametrize(
    "path",
    [
        "/assets/",
        "/assets/nothing.js",
        "/assets/app.js/",
        "/assets//app.js",
        "/assets/../index.html",
        "/assets/%2e%2e/index.html",
        "/assets/..%2findex.html",
        "/assets/../../app.py",
        "/assets/%2e%2e/%2e%2e/app.py",
        "/assets/..\\..\\app.py",
        "/assets/%2fetc/passwd",
        "/assets/app.js%00.css",
        "/index.html",
        "/web/index.html",
        "//",
    ],
)
async def test_no_path_leads_out_of_the_app(service: Running, path: str) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.get(URL(service.base + path, encoded=True), allow_redirects=False) as answer,
    ):
        assert (answer.status, answer.content_type) == (404, "application/problem+json")


async def test_nothing_is_taken_there(http: aiohttp.ClientSession) -> None:
    for path in ("/", "/assets/app.js"):
        async with http.post(path) as answer:
            assert (answer.status, answer.content_type) == (405, "application/problem+json")


async def test_the_app_is_open_where_the_api_wants_a_token_and_opens_nothing_else(guarded: Guarded) -> None:
    async with aiohttp.ClientSession(guarded.base) as http:
        for path in FILES:
            async with http.get(path) as answer:
                assert answer.status == 200, path
        for path in ("/assets/../tasks", "/assets/%2e%2e/me", "/assets/tasks"):
            async with http.get(URL(guarded.base + path, encoded=True)) as answer:
                assert answer.status == 404, path
        for path in ("/assets", "/tasks", "/index.html", "//assets/app.js"):
            async with http.get(URL(guarded.base + path, encoded=True)) as answer:
                assert answer.status == 401, path


async def test_under_another_name_even_the_app_is_refused(http: aiohttp.ClientSession) -> None:
    """A page that reached loopback by DNS rebinding would be of the app's own origin."""
    async with http.get("/", headers={"host": "evil.example"}) as answer:
        assert answer.status == 403
