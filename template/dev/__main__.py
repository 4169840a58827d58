"""`python -m dev COMMAND`: bring the project's environment up to date, then run the command in it.

Needs nothing but Python 3.11 and pip: uv is taken from PATH, else fetched into `.dev/`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from dev import OWN, ROOT

# With one of these uv would work on another environment than the project's.
MISLEADING = ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON")
PATIENCE = 2  # seconds; what takes longer says what it does


def find_uv() -> str:
    """Return the path of uv, fetching it first where there is none."""
    target = OWN / "uv"
    found = shutil.which("uv") or shutil.which("uv", path=str(target / "bin"))
    if found:
        return found
    print("fetching uv into .dev/ ...", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "uv"]
    env = os.environ | {"PIP_ROOT_USER_ACTION": "ignore"}
    done = subprocess.run(command, check=False, env=env)
    fetched = shutil.which("uv", path=str(target / "bin"))
    if done.returncode or not fetched:
        sys.exit("uv could not be installed; see https://docs.astral.sh/uv/")
    return fetched


class Environment:
    """The project's environment, which uv maintains.

    Args:
        uv: path of uv.
        variables: what programs are run with.
    """

    def __init__(self, uv: str, variables: dict[str, str]) -> None:
        self.uv = uv
        self.variables = variables

    def _read(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.uv, *arguments],
            cwd=ROOT,
            env=self.variables,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        return done.stdout.strip()

    def is_shared(self) -> bool:
        """Return whether other projects of a uv workspace use the environment as well."""
        workspace = self._read("workspace", "dir")
        return workspace != "" and Path(workspace) != ROOT

    def sync(self) -> None:
        """Install what is missing, and remove what is no longer needed; ends the process on failure."""
        command = [self.uv, "sync", "--quiet"]
        quiet_for: float | None = PATIENCE
        if self.is_shared():
            command += ["--inexact"]  # what the other projects need stays
        elif not (ROOT / ".venv").exists():
            print("installing dependencies into .venv/ ...", file=sys.stderr)
            command += ["--python", sys.executable]
            quiet_for = None
        with subprocess.Popen(command, cwd=ROOT, env=self.variables) as process:
            try:
                process.wait(quiet_for)
            except subprocess.TimeoutExpired:
                print("installing dependencies ...", file=sys.stderr)
        if process.returncode:
            sys.exit(process.returncode)

    def python(self) -> str:
        """Return the path of its Python: in `.venv/`, which a uv workspace has at its root."""
        return self._read("python", "find") or sys.exit("uv finds no Python in the environment")


def main() -> None:
    """Bring the environment up to date and run the command in it."""
    if sys.version_info < (3, 11):
        version = sys.version.split()[0]
        sys.exit(f"Python 3.11 or newer is needed, not {version}; try `make PYTHON=python3.12 ...`")
    variables = {k: v for k, v in os.environ.items() if k not in MISLEADING}
    environment = Environment(find_uv(), variables)
    environment.sync()
    command = [environment.python(), "-m", "dev.commands", *sys.argv[1:]]
    variables["UV"] = environment.uv
    os.chdir(ROOT)
    if sys.platform == "win32":
        sys.exit(subprocess.run(command, check=False, env=variables).returncode)
    os.execve(command[0], command, variables)


if __name__ == "__main__":
    main()
