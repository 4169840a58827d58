"""The project's own commands, `python -m dev COMMAND`; none of this is part of the service."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWN = ROOT / ".dev"  # ignored by git; stores keep their data there
