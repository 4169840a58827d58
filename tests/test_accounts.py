"""Root's commands leave alone what others have put in their way, and run no store as root."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENTERABLE = """
import pathlib, sys
from dev.accounts import enterable, give, store_user
user = store_user("nobody")
folder = enterable(pathlib.Path(sys.argv[1]), user)
give(folder, user)
print(folder)
"""


def enterable(folder: Path) -> Path:
    """Return the folder in which root's store for `folder` has its data."""
    command = [sys.executable, "-c", ENTERABLE, str(folder)]
    done = subprocess.run(
        command, cwd=ROOT / "template", check=True, capture_output=True, text=True
    )
    return Path(done.stdout.strip())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="for root alone")
def test_folder_of_a_store_is_nobody_elses(tmp_path: Path) -> None:
    """A link in place of the folder is not followed, and what it leads to keeps its owner."""
    tmp_path.chmod(0o700)
    folder = tmp_path / "store"
    first = enterable(folder)
    assert first != folder
    assert enterable(folder) == first
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").touch()
    first.rmdir()
    first.symlink_to(target)
    second = enterable(folder)
    assert second not in (first, folder)
    (second / "password").symlink_to(target / "file")
    assert enterable(folder) == second
    assert (target.stat().st_uid, (target / "file").stat().st_uid) == (0, 0)
    first.unlink()
    shutil.rmtree(second)
