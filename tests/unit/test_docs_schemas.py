"""Every command's JSON document is what its published schema says, no more and no less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from patcher import cli
from tests import schemas
from tests.conftest import git
from tests.elf_files import Elf
from tests.tiny_models import write_model
from tests.unit.evaluate_fakes import fake_programs, write_gguf
from tests.unit.test_evaluate_bench import TABLE
from tests.unit.test_evaluate_from_files import Q_PPL, Q_TABLE, four
from tests.unit.test_evaluate_perplexity_text import OLD
from tests.unit.test_model_retag import Q8_A8, gguf
from tests.unit.test_model_smooth import calibrated

# run and build are checked in tests/integration/test_docs_real.py, where something is built
ELSEWHERE = {"run", "build"}


class Documents:
    """Runs commands and checks what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def check(self, schema: str, *arguments: object, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
        code = cli.run([*map(str, arguments), "--json"])
        said = self._capsys.readouterr()
        assert code in codes, said.err
        document: dict[str, Any] = json.loads(said.out)
        assert schemas.errors(schema, document) == []
        return document


@pytest.fixture
def documents(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Documents:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    return Documents(capsys)


@pytest.mark.parametrize("name", schemas.names())
def test_schemas_are_sound_and_describe_what_they_list(name: str) -> None:
    schema = schemas.read(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"{name}.schema.json"
    assert schema["title"] == name
    assert schema["description"]
    assert set(schema["required"]) <= set(schema["properties"])


def test_every_command_has_a_schema() -> None:
    verbs = {verb for verb in cli.COMMANDS if verb not in ("gguf", "guard", "cache")}
    assert verbs <= set(schemas.names())


def test_a_wrong_document_is_refused() -> None:
    good = {"tree": "x", "files": [], "transactions": 0, "types": [], "state": "clean", "remaining": {}}
    assert schemas.errors("revert", good) == []
    assert len(schemas.errors("revert", good | {"state": "dirty"})) == 1
    assert len(schemas.errors("revert", good | {"unknown": 1})) == 1
    assert (
        len(
            schemas.errors(
                "revert", {key: good[key] for key in ("tree", "files", "types", "state", "remaining")}
            )
        )
        == 1
    )
    assert schemas.errors("run", {"checkout": {}, "apply": {}, "build": {}, "verify": {}}) != []


def test_engine(documents: Documents, mini_repo: Path, tmp_path: Path) -> None:
    documents.check("apply", "apply", mini_repo, "--dry-run")
    documents.check("diff", "diff", mini_repo)
    documents.check("export", "export", mini_repo, "-o", tmp_path / "series")
    assert documents.check("apply", "apply", mini_repo)["written"]
    documents.check("status", "status", mini_repo)
    documents.check("type", "type")
    documents.check("type-lift", "type", "lift", mini_repo, "--base", "HEAD")
    documents.check("audit", "audit", mini_repo)
    documents.check("revert", "revert", mini_repo)
    documents.check("fixes", "fixes", mini_repo)
    documents.check("fixes", "fixes")
    documents.check("fetch", "fetch", "--source", mini_repo, tmp_path / "fetched")
    (mini_repo / "include/llama.h").write_text("gone\n", encoding="utf-8")
    assert documents.check("status", "status", mini_repo, codes=(3,))["state"] == "conflict"


def test_drift(documents: Documents, mini_repo: Path) -> None:
    assert documents.check("drift", "drift", mini_repo)["causes"] == []
    place = mini_repo / "include/llama.h"
    place.write_text(
        place.read_text(encoding="utf-8").replace("enum llama_ftype", "enum other"), encoding="utf-8"
    )
    git(mini_repo, "commit", "-qam", "an enum goes")
    assert documents.check("drift", "drift", mini_repo, "--bisect", codes=(1,))["causes"]


def test_symbols(documents: Documents, tmp_path: Path) -> None:
    Elf(soname="libx.so", uses=["gone", "maybe?"]).write(tmp_path / "bin" / "libx.so")
    found = documents.check("verify-symbols", "verify-symbols", tmp_path / "bin", codes=(1,))
    assert found["findings"]
    documents.check("verify-symbols-explain", "verify-symbols", "--explain", "underlinked")


def test_the_machine(documents: Documents) -> None:
    documents.check("doctor", "doctor", "--offline", codes=(0, 1))
    documents.check("completion", "completion", "fish")


def test_the_cache(documents: Documents, tmp_path: Path) -> None:
    (tmp_path / "cache" / "logs").mkdir(parents=True)
    (tmp_path / "cache" / "logs" / "a.log").write_text("a", encoding="utf-8")
    assert [part["kind"] for part in documents.check("cache-size", "cache", "size")["parts"]] == ["logs"]
    assert documents.check("cache-clean", "cache", "clean", "logs")["removed"] == ["logs"]


def test_errors(documents: Documents, mini_repo: Path, tmp_path: Path) -> None:
    assert documents.check("error", "aply", codes=(2,))["error"]["kind"] == "usage"
    (mini_repo / "include/llama.h").write_text("gone\n", encoding="utf-8")
    error = documents.check("error", "apply", mini_repo, codes=(3,))["error"]
    assert error["kind"] == "conflict"
    assert any("llama-ftype" in line for line in error["details"])
    documents.check("error", "verify-symbols", tmp_path / "none", codes=(2,))


def test_guard(documents: Documents, mini_repo: Path, tmp_path: Path) -> None:
    documents.check("guard-check", "guard", "check", "--static", "--source", mini_repo)
    watching = ["guard", "watch", "--upstream", mini_repo, "--work", tmp_path / "w"]
    documents.check("guard-watch", *watching)
    header = mini_repo / "include/llama.h"
    header.write_text(
        header.read_text(encoding="utf-8").replace("enum llama_ftype", "enum x"), encoding="utf-8"
    )
    documents.check("guard-check", "guard", "check", "--static", "--source", mini_repo, codes=(1,))
    git(mini_repo, "commit", "-qam", "renamed")
    documents.check("guard-watch", *watching, codes=(1,))


def test_merge_audit(documents: Documents, tmp_path: Path) -> None:
    texts = ("int a;\n", "int a;\nint b;\n", "int a;\nint c;\n", "int a;\nint c;\n")
    names = [tmp_path / name for name in ("base", "ours", "theirs", "merged")]
    for place, text in zip(names, texts, strict=True):
        place.mkdir()
        (place / "a.c").write_text(text, encoding="utf-8")
    found = documents.check("merge-audit", "merge-audit", "--repo", tmp_path, *names, codes=(1,))
    assert found["merges"][0]["findings"]


def test_retag(documents: Documents, tmp_path: Path) -> None:
    old = gguf(tmp_path / "old.gguf", [("a.weight", (64, 3), 39, Q8_A8), ("norm", (64,), 0, (1, 4))])
    documents.check("gguf-identify", "gguf", "identify", old)
    documents.check("gguf-retag", "gguf", "retag", old, "--dry-run")
    assert documents.check("gguf-retag", "gguf", "retag", old, "-o", tmp_path / "new.gguf")["file_type"]


def test_smoothing(documents: Documents, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    stats = calibrated(model)
    documents.check("calibrate", "calibrate", "--merge", stats, "-o", tmp_path / "merged.stats")
    smooth = tmp_path / "s.gguf"
    assert documents.check("smooth", "smooth", model, "--stats", stats, "-o", smooth)["folds"]
    documents.check("smooth", "smooth", smooth, "--undo", "-o", tmp_path / "u.gguf")


def test_models(documents: Documents, tmp_path: Path) -> None:
    work, text = tmp_path / "work", tmp_path / "text.txt"
    folder = fake_programs(work / "build" / "bin")
    text.write_text("some words " * 100, encoding="utf-8")
    model = write_gguf(tmp_path / "tiny.gguf", "F16")
    documents.check("quantize", "quantize", model, tmp_path / "out.gguf", "Q8_A8", "--work", work)
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    plain = ("--rounds", "3", "--types", "F16,Q8_A8")
    line = ("evaluate", "run", model, "--text", text, "--work", work, *plain)
    assert documents.check("evaluate", *line, "-o", first, codes=(0, 1))["verdicts"]
    documents.check("evaluate", *line, "--require", "none", "-o", second)
    documents.check("evaluate-compare", "evaluate", "compare", first, second)
    documents.check("evaluate-show", "evaluate", "show", first, second, "--require", "none")
    grid = tmp_path / "grid.toml"
    grid.write_text(
        f'bin = "{folder}"\ntext = "text.txt"\nrounds = 2\ntypes = "F16,Q8_A8"\n[[model]]\npath = "tiny.gguf"\n',
        encoding="utf-8",
    )
    documents.check("evaluate-list", "evaluate", "grid", grid, "--list")
    documents.check("evaluate-grid", "evaluate", "grid", grid, "--results", tmp_path / "results")


def test_outputs_that_are_there(documents: Documents, tmp_path: Path) -> None:
    paths = four(tmp_path, OLD, Q_PPL, TABLE, Q_TABLE)
    documents.check("evaluate", "evaluate", "from-files", *paths, codes=(0, 1))
