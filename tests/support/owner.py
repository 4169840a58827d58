"""What the owner of a rendered project does in a week: new files, and lines in rendered ones."""

from pathlib import Path

from tests.support.files import change, read, write

ROUTER = '''"""What customers may still use."""

from fastapi import APIRouter

from src.utils.errors import QuotaExceededError

router = APIRouter(prefix="/quota", tags=["quota"])


@router.get("/{customer_id}")
async def get_quota(customer_id: str) -> int:
    """Return how much is left for a customer."""
    if customer_id == "ada":
        raise QuotaExceededError(customer_id)
    return 10
'''
TEST = '''"""Quotas are kept."""

import pytest

from src.api.quota import get_quota
from src.utils.errors import QuotaExceededError


async def test_quota() -> None:
    """Ada has nothing left."""
    assert await get_quota("bob") == 10
    with pytest.raises(QuotaExceededError) as raised:
        await get_quota("ada")
    assert (raised.value.status_code, raised.value.customer_id) == (429, "ada")
'''
MIGRATION = '''"""Make the table of quotas."""

from alembic import op

revision = "0002"
down_revision = {revises}


def upgrade() -> None:
    """Move on to this version."""
    op.execute("CREATE TABLE quotas (customer_id text PRIMARY KEY, left_over integer NOT NULL)")


def downgrade() -> None:
    """Go back to the version before."""
    op.execute("DROP TABLE quotas")
'''
ERROR = '''@dataclasses.dataclass(eq=False)
class QuotaExceededError(APIError):
    """This customer has nothing left."""

    customer_id: str
    status_code = 429
    detail = "Your quota is used up."


'''
TARGET = "deploy: ## Bring it to our customers\n\t@$(PYTHON) -m dev lint\n"


def work_for_a_week(project: Path) -> None:
    """Change a project as its owner does."""
    write(project / "src/api/quota.py", ROUTER)
    write(project / "tests/unit/test_quota.py", TEST)
    add_migration(project)
    insert(project, "src/utils/errors.py", ERROR, before="class RequestTooLargeError(")
    edit_routers(project)
    edit_settings(project)
    add_dependency(project)
    edit_readme(project)
    write(project / "Makefile", read(project / "Makefile") + TARGET)
    (project / ".pre-commit-config.yaml").unlink()


def insert(project: Path, path: str, text: str, before: str) -> None:
    """Insert a text before another one, which stands once in a file."""
    change(project, path, before, f"{text}{before}")


def add_migration(project: Path) -> None:
    """Add a migration after that of the example, if the project has migrations."""
    versions = project / "migrations" / "versions"
    if not versions.exists():
        return
    revises = '"0001"' if any(versions.glob("0001_*.py")) else "None"
    write(versions / "0002_quota.py", MIGRATION.format(revises=revises))


def edit_routers(project: Path) -> None:
    """Add the new router to the app."""
    routers = "src/api/routers.py"
    insert(project, routers, "    quota,\n", before=")\n\nROUTERS")
    last = "    # Last, since a request is compared with all routes before its own.\n"
    insert(project, routers, "    quota.router,\n", before=last)


def edit_settings(project: Path) -> None:
    """Add a setting, show it in the example of settings, and let it into the containers."""
    insert(project, "src/config.py", '    region: str = "eu"\n', before="    cors_origins:")
    region = "LOG_LEVEL=debug\n# where customers are\nREGION=eu\n"
    change(project, ".env.example", "LOG_LEVEL=info\n", region)
    insert(project, "compose.yaml", "  REGION:\n", before="  LOG_LEVEL:\n")


def add_dependency(project: Path) -> None:
    """Add a dependency after FastAPI."""
    lines = read(project / "pyproject.toml").splitlines(keepends=True)
    [fastapi] = [line for line in lines if line.startswith(('    "fastapi>', '    "fastapi['))]
    change(project, "pyproject.toml", fastapi, f'{fastapi}    "humanize>=4.9",\n')


def edit_readme(project: Path) -> None:
    """Add a section, and words within a sentence."""
    insert(project, "README.md", "## On call\n\nAsk Ada, or Bob.\n\n", before="## Layout\n")
    needs = "Needs Python 3.11 or newer, and"
    change(project, "README.md", needs, needs.replace("Needs", "Needs Ada's token,"))
