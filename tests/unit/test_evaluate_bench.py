"""Reading what llama-bench prints, in every form of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patcher.base.errors import UsageError
from patcher.programs.llama_bench import parse

TABLE = """| model                          |       size |     params | backend    | threads |            test |                  t/s |
| ------------------------------ | ---------: | ---------: | ---------- | ------: | --------------: | -------------------: |
| tiny 7B F16                    |  12.55 GiB |     6.74 B | CPU        |       8 |           pp512 |        118.20 ± 0.55 |
| tiny 7B F16                    |  12.55 GiB |     6.74 B | CPU        |       8 |           tg128 |         18.20 ± 0.07 |
| tiny 7B F16                    |  12.55 GiB |     6.74 B | CPU        |       8 |   tg128 @ d1024 |         16.00 ± 0.10 |
| tiny 7B F16                    |  12.55 GiB |     6.74 B | CPU        |       8 |     pp512+tg128 |         50.00 ± 0.10 |

build: abc1234 (5590)
"""


def item(**changes: Any) -> dict[str, Any]:
    plain = {
        "build_commit": "abc1234", "build_number": 5590, "model_type": "tiny", "model_size": 1000,
        "n_prompt": 512, "n_gen": 0, "n_depth": 0, "n_threads": 2, "avg_ts": 118.2, "stddev_ts": 0.5,
        "samples_ts": [118.0, 118.4], "samples_ns": [4338983051, 4324324324],
    }  # fmt: skip
    return {**plain, **changes}


ITEMS = [item(), item(n_prompt=0, n_gen=128, n_depth=64, avg_ts=18.2)]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ITEMS, indent=2),
        "load_backend: something on stderr\n" + json.dumps(ITEMS, indent=2) + "\n",
        "\n".join(json.dumps(each) for each in ITEMS),
    ],
    ids=["json", "json-after-log", "jsonl"],
)
def test_json(text: str) -> None:
    rows = parse(text, "log")
    assert [(row.test, row.phase, row.threads, row.speed) for row in rows] == [
        ("pp512", "pp", 2, 118.2),
        ("tg128@d64", "tg", 2, 18.2),
    ]
    assert rows[0].samples == (118.0, 118.4)
    assert rows[0].build == "abc1234 (5590)"
    assert rows[0].model_bytes == 1000


def test_json_of_an_older_release_has_no_depth() -> None:
    old = item()
    del old["n_depth"]
    assert parse(json.dumps([old]), "log")[0].depth == 0


def test_json_that_was_cut_off_keeps_what_is_complete() -> None:
    text = json.dumps(ITEMS, indent=2)
    assert [row.test for row in parse(text[: text.rindex("avg_ts") + 3], "log")] == ["pp512"]


def test_csv() -> None:
    keys = [
        "build_commit",
        "build_number",
        "model_type",
        "model_size",
        "n_prompt",
        "n_gen",
        "n_threads",
        "avg_ts",
    ]
    lines = [",".join(keys), ",".join(f'"{item()[key]}"' for key in keys)]
    row = parse("\n".join(lines), "log")[0]
    assert (row.test, row.speed, row.threads) == ("pp512", 118.2, 2)


def test_table() -> None:
    rows = parse(TABLE, "log")
    assert [(row.test, row.phase, row.speed, row.deviation) for row in rows] == [
        ("pp512", "pp", 118.2, 0.55),
        ("tg128", "tg", 18.2, 0.07),
        ("tg128@d1024", "tg", 16.0, 0.1),
        ("pp512+tg128", "pg", 50.0, 0.1),
    ]
    assert rows[0].model_bytes == round(12.55 * 2**30)
    assert rows[0].build == "abc1234 (5590)"
    assert rows[0].threads == 8


def test_table_in_another_encoding() -> None:
    assert parse(TABLE.encode().decode("latin-1"), "log") == parse(TABLE, "log")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("12.5 tokens/s\n", "'12.5 tokens/s'"),
        ("CREATE TABLE IF NOT EXISTS llama_bench (\n", "-o json"),
        (TABLE.split("\n", 2)[0], "none that is complete"),
        (TABLE.replace("pp512 ", "xx512 "), "xx512"),
        (TABLE.replace("118.20 ± 0.55", "fast"), "fast"),
        (TABLE.replace("|       8 |           pp512", "|           pp512"), "columns"),
        (json.dumps([item(avg_ts=0.0)]), "found 0.0"),
        (json.dumps([item(n_prompt="x")]), "can't be read"),
    ],
)
def test_what_is_not_a_result_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "some.log")
    assert "some.log" in str(caught.value)
    assert said in str(caught.value)
