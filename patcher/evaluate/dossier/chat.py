"""Dialogue as a model knows it: conversations in the chat template that its file carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from patcher.base import sandbox
from patcher.base.errors import UsageError

Conversation = list[str]  # what is said in turn; the user begins


def conversations(text: str) -> Iterator[Conversation]:
    """The conversations of chatterbot-corpus, whose YAML has one form: ``- - first``, ``  - next``, and lines
    that go on further in. A conversation in another form is left out."""
    turns: Conversation = []
    sound = True
    for line in [*text.splitlines(), "- - end"]:
        begins, goes_on = line.startswith("- - "), line.startswith("  - ")
        if begins or not line.startswith(" "):
            if sound and len(turns) > 1:
                yield [_plain(turn) for turn in turns]
            turns, sound = [], True
        if begins or goes_on:
            turns.append(line[4:].strip())
        elif line.startswith("    ") and turns:
            turns[-1] += f" {line.strip()}"
        sound = sound and not (turns and turns[-1].startswith(("|", ">", "&", "*", "{", "[")))


def rendered(found: Sequence[Conversation], template: str | None) -> str:
    """All conversations, one after another, as ``template`` writes them, or plainly where there is none.

    Raises :class:`UsageError` for a template that can't be used: it is anybody's, and is rendered in a box.
    """
    if template is None:
        names = ("User", "Assistant")
        return "\n\n".join(
            "\n".join(f"{names[at % 2]}: {said}" for at, said in enumerate(turns)) for turns in found
        )

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse

    def work() -> str:
        made = environment.from_string(template)
        return "".join(made.render(_values(turns)) for turns in found)

    try:
        return sandbox.confined(work)
    except sandbox.OverLimitError as why:
        raise UsageError(
            f"the model's chat template can't be used ({why})",
            hint="its 'tokenizer.chat_template' wants something that a plain conversation doesn't have",
        ) from why


def _values(turns: Conversation) -> dict[str, Any]:
    messages = [
        {"role": "user" if at % 2 == 0 else "assistant", "content": said} for at, said in enumerate(turns)
    ]
    # the marks of a text's ends are llama-perplexity's to add
    return {
        "messages": messages,
        "add_generation_prompt": False,
        "bos_token": "",
        "eos_token": "",
        "tools": None,
    }


def _plain(turn: str) -> str:
    if len(turn) > 1 and turn[0] == turn[-1] == "'":
        return turn[1:-1].replace("''", "'")
    if len(turn) > 1 and turn[0] == turn[-1] == '"':
        return turn[1:-1].replace('\\"', '"')
    return turn
