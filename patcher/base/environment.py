"""Which variables a program that we start may see: names from a list, and nothing else.

What runs in a CI job stands among tokens (``GITHUB_TOKEN``), and files that decide what later steps run
(``GITHUB_ENV``, ``GITHUB_PATH``). A build runs its tree's code, so that it is given neither: nothing that a
list doesn't name is handed on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

PASSED = "Q8A8_PATCH_PASS_ENVIRONMENT"  # further names, by comma, for builds and what was built

# Who and where we are: what any program may need, and nothing that makes one run another.
_PLAIN = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TMP|TEMP|XDG_(?:CACHE|CONFIG|DATA|RUNTIME)_\w+"
    r"|SOURCE_DATE_EPOCH|SYSTEMROOT|SYSTEMDRIVE|WINDIR|COMSPEC|PATHEXT|APPDATA|LOCALAPPDATA|USERPROFILE"
    r"|PROGRAM(?:FILES|DATA)\w*|NUMBER_OF_PROCESSORS"
)
# How the network is reached.
_NETWORK = re.compile(
    r"(?:HTTPS?|ALL|NO|FTP)_PROXY|SSL_CERT_(?:FILE|DIR)|(?:REQUESTS|CURL)_CA_BUNDLE|NODE_EXTRA_CA_CERTS",
    re.IGNORECASE,
)
# Toolchains, compiler caches, accelerators and their mathematics; folders of headers and libraries.
_BUILD = re.compile(
    r"CC|CXX|CPP|LD|AR|NM|RANLIB|STRIP|OBJCOPY|RC|AS|FC|CUDACXX|CUDAHOSTCXX|HIPCXX|ISPC"
    r"|(?:C|CXX|CPP|LD|ASM|FC|F|CUDA|HIP|RC)FLAGS|CPATH|C_INCLUDE_PATH|CPLUS_INCLUDE_PATH|LIBRARY_PATH"
    r"|LD_LIBRARY_PATH|LD_RUN_PATH|DYLD_\w+|SDKROOT|MACOSX_DEPLOYMENT_TARGET|DEVELOPER_DIR"
    r"|(?:CMAKE|CCACHE|SCCACHE|PKG_CONFIG|NIX|VCPKG|CONDA|SPACK|ANDROID|EMSDK|EM)_?\w*|INCLUDE|LIB|LIBPATH"
    r"|(?:CUDA|NVCC|NVIDIA|HIP|HSA|ROCM|ROCR|ROCBLAS|GPU|AMD|VULKAN|VK|MUSA|CANN|ASCEND|ONEAPI|SYCL|ZE|UR)_\w+"
    r"|(?:DPCPP|MKL|TBB|CMPLR)\w*ROOT|(?:OMP|KMP|GOMP|MKL|OPENBLAS|BLIS|GOTO)_\w+|(?:GGML|LLAMA)_\w+"
    r"|(?:MSYS|MINGW|VS|VC)\w*|TERM"
)
# Whatever a list says: these are keys to something.
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH", re.IGNORECASE)

Environment = dict[str, str]


def plain(**values: str) -> Environment:
    """What any program is given, and ``values``."""
    return _chosen(_PLAIN) | values


def asked(**values: str) -> Environment:
    """What a program is given that is only asked something: no variable changes what it runs or says."""
    return _chosen(_PLAIN) | {"LC_ALL": "C", "LANGUAGE": "C"} | values


def networked(more: str = "", **values: str) -> Environment:
    """What a client of a registry or a repository is given; ``more`` is a pattern of its own names."""
    own = _chosen(re.compile(more)) if more else {}
    return _chosen(_PLAIN) | _chosen(_NETWORK) | own | values


def building(**values: str) -> Environment:
    """What a build is given, and what was built: toolchains, caches, accelerators, names of the user's.

    A program of ggml's that aborts starts a debugger, where there is one: it is told not to.
    """
    named = {name.strip() for name in os.environ.get(PASSED, "").split(",")}
    own = {name: value for name, value in os.environ.items() if name in named}
    return _chosen(_PLAIN) | _without_secrets(_chosen(_BUILD)) | {"GGML_NO_BACKTRACE": "1"} | own | values


def _chosen(pattern: re.Pattern[str]) -> Environment:
    fold = str.upper if os.name == "nt" else str
    return {name: value for name, value in os.environ.items() if pattern.fullmatch(fold(name))}


def _without_secrets(values: Mapping[str, str]) -> Environment:
    return {name: value for name, value in values.items() if not _SECRET.search(name)}
