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
# GitHub wants a pipe in a table's code escaped; Python-Markdown shows the escape
_PIPE = re.compile(r"(?m)^\|.*\\\|.*$")
# the tabs, as Korean pages call them: what they lead to is in English
_TABS = {"Start": "시작(영문)", "How to": "방법(영문)", "Reference": "참조(영문)", "Why": "배경(영문)"}
_ENGLISH = {korean: english for english, korean in _TABS.items()}


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

    return _OUTSIDE.sub(inside, _PIPE.sub(_plain_pipes, markdown))


def _plain_pipes(row: re.Match[str]) -> str:
    return re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), row[0])


def on_page_content(html: str, **_: Any) -> str:
    """An option stays whole: browsers break a line behind each of its hyphens."""
    return _OPTION.sub(r'<code class="option">\1</code>', html)


def on_page_context(context: Any, page: Any, config: Any, **_: Any) -> Any:
    """The site's own words (search, contents, tabs, next page) in the language that the page is in."""
    korean = page.file.src_uri.startswith("ko/")
    config.theme["language"] = "ko" if korean else "en"
    for tab in context["nav"].items:
        english = _ENGLISH.get(tab.title, tab.title)
        tab.title = _TABS.get(english, english) if korean else english
    return context
