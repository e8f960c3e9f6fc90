"""What MkDocs doesn't do by itself: files of the project that pages link to, and the language of a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# a link out of docs/, to a file of the project: that file is put into the site
_OUTSIDE = re.compile(r"\]\((?P<up>(?:\.\./)+)(?P<path>(?:patches|templates|examples|ci|tests)/[^)#\s]+)")


_OPTION = re.compile(r"<code>(-[^<]{1,28})</code>")


def on_files(files: Files, config: Any) -> Files:
    """Add the files that pages link to from outside of ``docs``."""
    wanted = set()
    for page in files.documentation_pages():
        for match in _OUTSIDE.finditer(page.content_string):
            depth = len(Path(page.src_uri).parts)
            if match["up"].count("../") == depth and (ROOT / match["path"]).is_file():
                wanted.add(match["path"])
    for path in sorted(wanted):
        files.append(File.generated(config, f"project/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead those links to where the files are in the site."""

    def inside(match: re.Match[str]) -> str:
        up = match["up"].removeprefix("../")
        return f"]({up}project/{match['path']}"

    return _OUTSIDE.sub(inside, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """An option stays whole: browsers break a line behind each of its hyphens."""
    return _OPTION.sub(r'<code class="option">\1</code>', html)


def on_page_context(context: Any, page: Any, config: Any, **_: Any) -> Any:
    """The site's own words (search, contents, next page) in the language that the page is in."""
    config.theme["language"] = "ko" if page.file.src_uri.startswith("ko/") else "en"
    return context
