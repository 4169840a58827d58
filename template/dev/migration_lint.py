"""The rules for migrations: `python -m dev.migration_lint`.

While a version is rolled out, the one before it works on the same tables. So a migration neither
takes away what that one uses, nor locks a table for longer than a moment. squawk knows what does;
`-- squawk-ignore RULE` before a statement says that this one may.
"""

import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations

from dev import ROOT

FOLDER = ROOT / "migrations" / "versions"
SQUAWK = Path(sys.executable).with_name("squawk")
# What is a matter of taste, and what `migrations/env.py` sees to.
EXCLUDED = [
    "ban-uncommitted-transaction",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-text-field",
    "require-lock-timeout",
    "require-statement-timeout",
    "transaction-nesting",
]


def check(file: Path) -> list[str]:
    """Return one line for each statement of a migration's `upgrade` that breaks a rule.

    Args:
        file: the migration.
    """
    try:
        sql = read_sql(file)
    except AttributeError:  # there is no connection without a database
        print(f"{file.name} is not checked, since it needs a connection")
        return []
    options = ["--assume-in-transaction", "--reporter=json", f"--stdin-filepath={file.name}"]
    options += [f"--exclude={rule}" for rule in EXCLUDED]
    done = subprocess.run(
        [SQUAWK, *options], input=sql, capture_output=True, encoding="utf-8", check=False
    )
    lines = sql.splitlines()
    return [describe(file, problem, lines) for problem in json.loads(done.stdout)]


def read_sql(file: Path) -> str:
    """Return the statements that `upgrade` executes, without a database."""
    buffer = io.StringIO()
    options = {"as_sql": True, "output_buffer": buffer}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        sys.exit(f"{file} is no module")
    module = importlib.util.module_from_spec(spec)
    with Operations.context(context):
        spec.loader.exec_module(module)
        module.upgrade()
    return buffer.getvalue()


def describe(file: Path, problem: dict[str, object], lines: list[str]) -> str:
    """Return the rule that is broken, the reason for it, and the line that breaks it."""
    number = int(str(problem["line"]))
    line = lines[number].strip() if number < len(lines) else ""
    return f"{file.name}: {problem['rule_name']}: {problem['message']} ({line})"


def main() -> int:
    """Check all migrations; return 1 if a rule is broken."""
    files = sorted(FOLDER.glob("*.py"))
    problems = [problem for file in files for problem in check(file)]
    print("\n".join(problems) or f"migrations: {len(files)} files lock and break nothing")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
