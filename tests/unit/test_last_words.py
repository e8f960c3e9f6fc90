"""What llama.cpp said last, and why it really gave up."""

from __future__ import annotations

import pytest

from patcher.programs.last_words import cause, last_word


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "llama_model_quantize: failed to quantize: key llama.attention.head_count has wrong type i32 but expected"
            " type u32\nllama_quantize: failed to quantize model from 'headi32.gguf'\n",
            "key llama.attention.head_count has wrong type i32 but expected type u32",
        ),
        (
            "llama_model_quantize: failed to quantize: tensor 'blk.0.attn_q.weight' has invalid data\n"
            "llama_quantize: failed to quantize model from 'nan_q.gguf'\n",
            "tensor 'blk.0.attn_q.weight' has invalid data",
        ),
        (
            "gguf_init_from_reader: tensor 'output_norm.weight' has offset 6291456, expected 6291328\n"
            "gguf_init_from_reader: failed to read tensor data\n"
            "llama_model_quantize: failed to quantize: llama_model_loader: failed to load model from vocabpad.gguf\n"
            "llama_quantize: failed to quantize model from 'vocabpad.gguf'\n",
            "tensor 'output_norm.weight' has offset 6291456, expected 6291328",
        ),
        (
            "llama_model_load: error loading model: check_tensor_dims: tensor 'token_embd.weight' has wrong shape;"
            " expected 64, 49152, got 64, 49151, 1, 1\nllama_model_load_from_file_impl: failed to load model\n",
            "check_tensor_dims: tensor 'token_embd.weight' has wrong shape; expected 64, 49152, got 64, 49151, 1, 1",
        ),
        (
            "[  12/  20] blk.1.ffn_down.weight - converting to f16 .. ggml_validate_row_data: found inf value at block 0\n"
            "llama_model_quantize: failed to quantize: quantized data validation failed\n",
            "ggml_validate_row_data: found inf value at block 0",
        ),
        ("failed to quantize: quantized data validation failed\n", "quantized data validation failed"),
        (
            "/home/me/llama.cpp/ggml/src/ggml-backend.cpp:1294: GGML_ASSERT(*cur_backend_id != -1) failed\n"
            "#1  0x00007f221224160b in ggml_print_backtrace () from /home/me/bin/libggml-base.so.0\n"
            "[Inferior 1 (process 13567) detached]\n",
            "ggml-backend.cpp:1294: GGML_ASSERT(*cur_backend_id != -1) failed",
        ),
        ("all went well\n", ""),
    ],
)  # fmt: skip
def test_the_cause_is_found_above_what_repeats_it(said: str, reason: str) -> None:
    assert cause(said) == reason
    assert last_word("a first line\n" + said) == (reason or "all went well")


def test_without_a_known_form_the_last_line_that_sounds_like_an_error_counts() -> None:
    assert last_word("error: this\nthen that\n") == "error: this"
    assert last_word("") == ""
