"""The bytes that a weight is read into before it is packed: nobody writes them first."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from patcher.engine.patchset import load
from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from patcher.engine.tree import Tree, WorkTree
from tests.integration.conftest import NEWEST, stock_tree
from tests.integration.test_kernels import native

pytestmark = [pytest.mark.network, pytest.mark.compiler, pytest.mark.llama]

HEADER = "src/llama-impl.h"
EDIT = "staging-bytes"
# A vector whose memory was full of 171 before: what does it hold once it is made?
PROGRAM = """
#include "llama-impl.h"
#include <cstdint>
#include <cstdlib>
#include <cstring>

template <typename T> struct used {
    using value_type = T;
    T * allocate(size_t n) {
        void * bytes = malloc(n * sizeof(T));
        memset(bytes, 171, n * sizeof(T));
        return (T *) bytes;
    }
    void deallocate(T * bytes, size_t) { free(bytes); }
};

int main() {
    std::vector<no_init<uint8_t>, used<no_init<uint8_t>>> made(4096), grown;
    grown.resize(4096);
    unsigned char first[2];
    memcpy(&first[0], made.data()  + 4095, 1);
    memcpy(&first[1], grown.data() + 4095, 1);
    return first[0] == 171 && first[1] == 171 ? 0 : first[0] == 0 && first[1] == 0 ? 1 : 2;
}
"""


def written_first(tree: Path, header: bytes, folder: Path) -> bool:
    """Whether such a vector of ``tree``, with this ``llama-impl.h``, is zeroed as it is made and as it grows."""
    (folder / "llama-impl.h").write_bytes(header)
    (folder / "staging.cpp").write_text(PROGRAM, encoding="utf-8")
    command = [native(), "-std=c++17", "-O0", str(folder / "staging.cpp"), "-I", str(folder)]
    command += ["-I", str(tree / "ggml/include"), "-I", str(tree / "include"), "-o", str(folder / "staging")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = subprocess.run([folder / "staging"]).returncode
    assert code in {0, 1}
    return code == 1


def planned(tree: Tree) -> tuple[State, bytes | None]:
    """What becomes of the edit, and of the file that it goes to."""
    made = make_plan(tree, load().select((EDIT,)))
    (edit,) = made.edits
    return edit.state, next((file.after() for file in made.files), None)


def test_staged_bytes_are_not_zeroed(tmp_path: Path) -> None:
    """Upstream's own vector zeroes them: the day that this fails, it no longer needs the edit."""
    tree = stock_tree(NEWEST)
    stock = (tree / HEADER).read_bytes()
    state, after = planned(WorkTree(tree))
    assert state is State.MISSING
    assert after is not None
    assert written_first(tree, stock, tmp_path)
    assert not written_first(tree, after, tmp_path)


def test_a_release_that_has_it_right_is_left_alone(tmp_path: Path) -> None:
    tree = stock_tree("3.9.0")
    assert planned(WorkTree(tree)) == (State.NOT_NEEDED, None)
    assert not written_first(tree, (tree / HEADER).read_bytes(), tmp_path)
