"""`python -m dev COMMAND`: makes sure of the project's environment, then runs the command in it.

Needs nothing but Python 3.11 and pip: uv is taken from PATH, else fetched into `.dev/`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WINDOWS = sys.platform == "win32"
PYTHON = ROOT / ".venv" / ("Scripts/python.exe" if WINDOWS else "bin/python")
ELSEWHERE = (
    "VIRTUAL_ENV",
    "UV_PROJECT_ENVIRONMENT",
    "UV_PYTHON",
)  # would have uv work on another environment


def uv() -> str:
    """Return the path of uv, fetching it first where there is none."""
    own = ROOT / ".dev" / "uv"
    found = shutil.which("uv") or shutil.which("uv", path=str(own / "bin"))
    if found is None:
        print("fetching uv into .dev/ ...", file=sys.stderr)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(own), "uv"]
        subprocess.run(command, check=True, env=os.environ | {"PIP_ROOT_USER_ACTION": "ignore"})
        found = shutil.which("uv", path=str(own / "bin"))
    return found or sys.exit("uv could not be installed; see https://docs.astral.sh/uv/")


def main() -> None:
    """Bring the environment up to date and hand over to `dev.tasks`."""
    if sys.version_info < (3, 11):
        sys.exit(
            f"this service needs Python 3.11 or newer, not {sys.version.split()[0]}; try `make PYTHON=python3.12 ...`"
        )
    env = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    tool = uv()
    sync = [tool, "sync", "--quiet"]
    if not PYTHON.exists():
        print("installing dependencies into .venv/ ...", file=sys.stderr)
        sync += ["--python", sys.executable]
    try:
        subprocess.run(sync, check=True, cwd=ROOT, env=env)
    except subprocess.CalledProcessError as exc:
        sys.exit(exc.returncode)
    command = [str(PYTHON), "-m", "dev.tasks", *sys.argv[1:]]
    env |= {"UV": tool}
    os.chdir(ROOT)
    if WINDOWS:
        sys.exit(subprocess.run(command, check=False, env=env).returncode)
    os.execve(command[0], command, env)


if __name__ == "__main__":
    main()
