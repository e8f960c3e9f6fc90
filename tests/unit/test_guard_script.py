"""``ci/guard`` where nobody said where the user is at home: cron, a service, a container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GUARD = Path(__file__).parents[2] / "ci" / "guard"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="a script of sh")

# The interpreter that the script finds: it asks the real one, makes environments of nothing, and knows the
# home that the list of users would have given.
PYTHON = """#!/bin/sh
case "$*" in
*"-m venv"*)
    for folder; do :; done
    mkdir -p "$folder/bin"
    printf '#!/bin/sh\\ncase "$*" in *"-m pip"*) ;; *) echo ran from "$0";; esac\\n' >"$folder/bin/python"
    chmod +x "$folder/bin/python" ;;
"-I -") exec {real} -I -c 'import os, sys
known = "{home}"
if "HOME" not in os.environ: os.path.expanduser = lambda path: path.replace("~", known) if known else path
exec(sys.stdin.read())' ;;
*) exec {real} "$@" ;;
esac
"""


def guard(folder: Path, home: str, **environment: str) -> str:
    """What ``ci/guard`` says, started without HOME; ``home`` is what the list of users has."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    (bin_folder / "python3").write_text(PYTHON.format(real=sys.executable, home=home), encoding="utf-8")
    (bin_folder / "python3").chmod(0o755)
    (folder / "tmp").mkdir(exist_ok=True)
    done = subprocess.run(
        [str(GUARD), "check"],
        cwd=folder,
        env={"PATH": f"{bin_folder}:/usr/bin:/bin", "TMPDIR": str(folder / "tmp"), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.removeprefix("ran from ").strip()


def test_the_list_of_users_says_where_home_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert guard(tmp_path, str(home)).startswith(f"{home}/.cache/q8a8-patch/guard-env-")
    assert (home / ".cache/q8a8-patch").stat().st_mode & 0o777 == 0o700


def test_without_any_home_an_environment_is_made_for_this_run(tmp_path: Path) -> None:
    """Nothing below a folder that anybody may write is looked at, and nothing is left."""
    planted = tmp_path / "tmp" / ".cache" / "q8a8-patch"
    planted.mkdir(parents=True)
    ran = guard(tmp_path, "")
    assert Path(ran).is_relative_to(tmp_path / "tmp")
    assert not ran.startswith(str(planted))
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == [".cache"]
    assert not list(planted.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root")
def test_what_another_user_owns_is_not_run(tmp_path: Path) -> None:
    place = tmp_path / "home" / ".cache" / "q8a8-patch"
    place.mkdir(parents=True)
    mine = Path(guard(tmp_path, str(tmp_path / "home")))
    assert mine.is_relative_to(place)
    mine.write_text("#!/bin/sh\necho evil\n", encoding="utf-8")
    os.chown(place, 12345, 12345)
    assert Path(guard(tmp_path, str(tmp_path / "home"))).is_relative_to(tmp_path / "tmp")
    os.chown(place, 0, 0)
    assert guard(tmp_path, str(tmp_path / "home")) == "evil"  # the same place, where it is ours
