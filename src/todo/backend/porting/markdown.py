"""HTML as other programs keep notes, as Markdown."""

import re
from html.parser import HTMLParser
from typing import Final

_HTML: Final = re.compile(r"</?[a-zA-Z][^>]*>")
_LINK: Final = re.compile(r"(https?|mailto):[^\s()]+$", re.IGNORECASE)
_AROUND: Final = {"strong": "**", "b": "**", "em": "*", "i": "*", "code": "`", "s": "~~", "del": "~~"}
_BLOCKS: Final = frozenset({"p", "div", "ul", "ol", "blockquote", "table", "tr", "pre", "label"})
_HEADINGS: Final = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_PLAIN: Final = frozenset({"br", "a", "li", "span", "input", "tbody"}) | _BLOCKS | _AROUND.keys() | _HEADINGS.keys()
_SILENT: Final = frozenset({"script", "style"})


def from_html(text: str) -> tuple[str, list[str]]:
    """Markdown, and the elements that it has nothing for. Text without any element is returned as it is."""
    if not _HTML.search(text):
        return text, []
    writer = _Writer()
    writer.feed(text)
    writer.close()
    return writer.text, sorted(writer.lost)


class _Writer(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._links: list[str] = []
        self._silent = 0
        self._items = 0
        self.lost: set[str] = set()

    @property
    def text(self) -> str:
        return re.sub(r"\n{3,}", "\n\n", "".join(self._parts)).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag not in _PLAIN:
            self.lost.add(tag)
        self._silent += tag in _SILENT
        if tag == "br":
            self._parts.append("\n")
        elif tag == "li":
            self._items += 1
            self._parts.append(f"\n- {_box(known)}")
        elif tag == "a":
            link = known.get("href") or ""
            self._links.append(link if _LINK.match(link) else "")
            self._parts.append("[" if self._links[-1] else "")
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._block(tag)
        else:
            self._parts.append(_AROUND.get(tag, ""))

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _SILENT and self._silent > 0
        self._items -= tag == "li" and self._items > 0
        if tag == "a" and self._links:
            link = self._links.pop()
            self._parts.append(f"]({link})" if link else "")
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._block("")
        else:
            self._parts.append(_AROUND.get(tag, ""))

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._parts.append(data)

    def _block(self, tag: str) -> None:
        self._parts.append("" if self._items else "\n\n" + _HEADINGS.get(tag, ""))


def _box(attributes: dict[str, str | None]) -> str:
    """Of a list of things to tick off."""
    checked = attributes.get("data-checked")
    return "" if checked is None else "[x] " if checked == "true" else "[ ] "
