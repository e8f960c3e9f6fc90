"""``evaluate dossier`` with real programs: what the pipes tell is what ``llama-perplexity`` itself says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patcher.evaluate.dossier import lockstep
from patcher.evaluate.dossier.divergence import Tokens
from patcher.evaluate.measure.models import Model
from patcher.evaluate.measure.variant import Variant
from patcher.model import gguf_header
from patcher.programs import llama_perplexity
from patcher.programs.folder import Programs
from tests.integration.conftest import Work
from tests.integration.test_model_files import small

pytestmark = [pytest.mark.llama, pytest.mark.network, pytest.mark.compiler, pytest.mark.slow]


def test_divergences_are_those_of_llama_perplexity(
    work: Work, model: Path, text: Path, tmp_path: Path
) -> None:
    base = small(model, tmp_path / "F16.gguf")
    logits = tmp_path / "logits"
    shared: list[str | Path] = ["-f", text, "-c", "128", "-b", "128", "--chunks", "6", "--kl-divergence-base"]
    said = {"F16": llama_perplexity.parse(work.run("llama-perplexity", "-m", base, *shared, logits), "F16")}
    models = [_model("F16", base)]
    for kind in ("Q8_0", "Q4_K_M"):
        place = tmp_path / f"{kind}.gguf"
        work.run("llama-quantize", base, place, kind)
        out = work.run("llama-perplexity", "-m", place, *shared, logits, "--kl-divergence")
        said[kind] = llama_perplexity.parse(out, kind)
        models.append(_model(kind, place))
    reading = lockstep.Reading(Programs(work.bin), text, 6, 128, 1)
    shares: list[float] = []
    found = lockstep.compare(reading, models[0], models[1:], shares.append)
    assert shares == [share / 6 for share in range(1, 7)]
    for kind in ("Q8_0", "Q4_K_M"):
        theirs, ours = said[kind].divergence, found[kind]
        assert isinstance(ours, Tokens)
        assert theirs is not None
        assert ours.count == 6 * 63
        # theirs has the type's logits as they are, ours in 16 bits: half a step of 0.00024 for a token, and
        # next to nothing for the mean of many
        assert float(ours.divergence.mean()) == pytest.approx(theirs.mean, abs=2e-6)
        assert float(np.quantile(ours.divergence, 0.99)) == pytest.approx(theirs.p99, abs=1e-4)
        assert 100 * float(ours.same.mean()) == pytest.approx(theirs.same_top, abs=0.27)  # of one token
        ratio = np.exp(np.mean(ours.loss.astype(np.float64) - ours.base_loss))
        assert float(ratio) == pytest.approx(theirs.ratio, abs=2e-5)
        assert np.exp(ours.loss.astype(np.float64).mean()) == pytest.approx(said[kind].value, rel=2e-5)
    assert not list(tmp_path.glob(".*"))


def _model(label: str, path: Path) -> Model:
    return Model(Variant(label, label), path, gguf_header.read(path), label)
