"""As whom stores run where root starts them, and where they have their data then.

A store should not run as root, and some refuse to. Another user may not be able to enter the
project's folder, as below `/root`.
"""

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

User = dict[str, Any]


def store_user(name: str) -> User:
    """Return as whom a store runs, as `subprocess` takes it; empty for the current user.

    Args:
        name: of the user that root takes, where there is one; else it takes `nobody`.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return {}
    import pwd  # noqa: PLC0415 - there is none on Windows

    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get(name) or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def is_open_to_all(path: Path) -> bool:
    """Return whether any user may enter the folders above a path."""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents if parent.exists())


def enterable(folder: Path, user: User) -> Path:
    """Return a folder for a store that its user can enter: this one, or one that it names.

    The other one has a random name: in a folder that all users share, such as `/tmp`, somebody else
    could have a link wait under a name that can be foreseen.

    Args:
        folder: of the store.
        user: as `store_user` returns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not user or is_open_to_all(folder):
        return folder
    location = folder / "location"
    if location.exists():
        other = Path(location.read_text(encoding="utf-8"))
        if _is_own(other, user):
            return other
    other = Path(tempfile.mkdtemp(prefix="store-"))
    location.write_text(str(other), encoding="utf-8")
    return other


def give(folder: Path, user: User) -> None:
    """Make a folder and the files in it the property of a user, but nothing that links lead to.

    Args:
        folder: of a store.
        user: as `store_user` returns it.
    """
    if not user:
        return
    for path in (folder, *folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # the store may run, and remove its files
            os.chown(path, user["user"], user["group"], follow_symlinks=False)


def _is_own(folder: Path, user: User) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    owners = (os.geteuid(), user["user"])
    return stat.S_ISDIR(status.st_mode) and status.st_uid in owners
