"""A hook of MkDocs: puts the reference pages into the site, generated at each build."""

from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tools.guide import reference

PAGES: Final = {"reference/events.md": reference.events, "reference/api.md": reference.api}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated to the files that the site is made of."""
    for place, render in PAGES.items():
        files.append(File.generated(config, place, content=render()))
    return files
