"""`make resource` writes code that is green at once, or one line that says why it does not."""

import json
import keyword
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.files import change, read, write
from tests.support.readability import banned_names, dense, large_functions
from tests.support.readability import read as read_sources
from tests.support.repositories import commit, git
from tests.support.services import Done, make, run
from tests.support.template import EVERYTHING, Answers, render_into

KINDS: dict[str, Answers] = {
    "redis-problem-jwt": {"example": "decisions", "observability": [], "auth": "jwt"},
    "postgres-message-key": {
        "example": "none",
        "stores": ["postgres"],
        "error_format": "message",
        "auth": "api_key",
    },
    "open": {"example": "none", "stores": ["postgres"], "observability": []},
}
# Together they have each type, optional and not, and each flag; some are words of SQL.
RESOURCES = {
    "customer": "email:str:unique name:str credit_limit:decimal? born:date?",
    "invoice": (
        "customer:ref(customer) number:int:unique status:enum(open,paid):index total:decimal "
        "note:text? due_on:date paid_at:datetime?:readonly seen_at:datetime? token:uuid? paid:bool order:int?"
    ),
    "category": "parent:ref(category)? user:str select:bool?",
    "reference": (
        "code:uuid:unique day:date:unique sent_at:datetime:unique price:decimal:unique "
        "references:text kind:enum(big,small)? invoice:ref(invoice):unique"
    ),
}
PLURALS = [
    "customers",
    "invoices",
    "categories",
    "references",
]
OWN_TESTS = [
    "tests/unit/test_page.py",
    "tests/unit/test_errors.py",
]
CLOSED = "tests/integration/test_authentication.py"
MIGRATIONS = [
    "tests/unit/test_migrations.py",
    "tests/integration/test_migrations.py",
]


@pytest.fixture(scope="module")
def environment_folder(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render a service and install what it needs."""
    folder = tmp_path_factory.mktemp("resource") / "service"
    render_into(folder, snapshot, {"auth": "jwt"})
    done = run(folder, sys.executable, "-m", "dev", "run", "python", "--version")
    assert done.returncode == 0, done.stdout
    return folder


def start_project(folder: Path, snapshot: Path, environment: Path, answers: Answers) -> Path:
    """Render a service into a folder, with an environment that is installed, and commit it."""
    render_into(folder, snapshot, answers)
    (folder / ".venv").symlink_to(environment / ".venv")
    commit(folder, "Start")
    return folder


@pytest.fixture(scope="module")
def pristine(
    snapshot: Path, environment_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A service with decisions, to which nothing may be written."""
    folder = tmp_path_factory.mktemp("pristine") / "service"
    return start_project(folder, snapshot, environment_folder, {})


@pytest.fixture
def project(pristine: Path, tmp_path: Path) -> Path:
    """A service with decisions, of the test's own."""
    return shutil.copytree(pristine, tmp_path / "service", symlinks=True)


def run_command(folder: Path, *arguments: str) -> Done:
    """Run a command of the service in its environment, as it is."""
    return run(folder, str(folder / ".venv/bin/python"), "-m", "dev.commands", *arguments)


def add_resource(folder: Path, name: str, fields: str, *options: str) -> Done:
    """Run `make resource`, without bringing the environment up to date."""
    return run_command(folder, "resource", name, fields, *options)


def assert_added(done: Done) -> None:
    """The resource was written."""
    assert done.returncode == 0, done.stdout
    assert "make migrate" in done.stdout


def assert_refused(folder: Path, done: Done, words: str) -> None:
    """One line says what is wrong, and nothing is written."""
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if not line.endswith(" ...")]
    assert words in line
    assert git(folder, "status", "--porcelain") == ""


# What is written


@pytest.mark.parametrize("kind", KINDS if EVERYTHING else ["redis-problem-jwt"])
def test_resources_are_green_at_once(
    snapshot: Path, environment_folder: Path, tmp_path: Path, kind: str
) -> None:
    """Each type and flag: formatted, lint-clean, typed, readable, and with tests that pass."""
    answers = KINDS[kind]
    folder = start_project(tmp_path / "service", snapshot, environment_folder, answers)
    for name, fields in RESOURCES.items():
        assert_added(add_resource(folder, name, fields))
    checked = run_command(folder, "lint")
    assert checked.returncode == 0, checked.stdout[-6000:]
    assert "Contracts: 6 kept, 0 broken" in checked.stdout
    tests = [f"tests/{kind}/test_{name}.py" for name in PLURALS for kind in ("unit", "integration")]
    if "auth" in answers:
        tests.append(CLOSED)
    tested = run_command(folder, "test", "-q", "-n0", *tests, *OWN_TESTS, *MIGRATIONS)
    assert tested.returncode == 0, tested.stdout[-6000:]
    for part in ("src", "dev", "tests"):
        sources = read_sources(folder, part)
        assert dense(sources) == []
        assert large_functions(sources) == []
    assert banned_names(read_sources(folder, "src")) == []


def test_resource_is_described(project: Path) -> None:
    """OpenAPI has the operations, the errors of each, and fields that need not be sent."""
    assert_added(add_resource(project, "customer", RESOURCES["customer"]))
    code = "import json; from src.main import app; print(json.dumps(app.openapi()))"
    done = run(project, str(project / ".venv/bin/python"), "-c", code)
    assert done.returncode == 0, done.stdout
    document = done.stdout.splitlines()[-1]
    for operation in ("create", "get", "update", "delete"):
        assert f'"operationId": "{operation}_customer"' in document
    assert '"operationId": "list_customers"' in document
    assert "There is already a customer with this email." in document
    assert "The customer was changed meanwhile: read it again." in document
    assert '"If-Match"' in document or '"if-match"' in document


def test_edits_leave_the_rest_of_a_file_as_it_is(project: Path) -> None:
    """Only lines are added; comments and an own order of things stay, formatted or not."""
    routers = project / "src/api/routers.py"
    change(
        project,
        "src/api/routers.py",
        "    # Last, since",
        "    # Ours  come first.\n    # Last, since",
    )
    write(routers, read(routers) + '\nOWN = {"a":1}  # not formatted\n')
    change(
        project,
        "src/main.py",
        "        gc.collect()\n",
        "        # Tidy up.\n        gc.collect()\n",
    )
    commit(project, "Edit")
    assert_added(add_resource(project, "customer", "name:str"))
    changed = git(project, "diff", "--numstat")
    assert re.findall(r"(?m)^\d+\t(\d+)\t", changed) == ["0"] * 4
    text = read(routers)
    assert "    customers.router,\n    # Ours  come first.\n    # Last, since" in text
    assert '\nOWN = {"a":1}  # not formatted\n' in text


def test_list_of_routers_may_have_another_form(project: Path) -> None:
    """A list of one line, without a type and without the health checks, gets the router, too."""
    routers = project / "src/api/routers.py"
    text = re.sub(r"(?s)ROUTERS: list.*?\n\]\n", "ROUTERS = [decisions.router]\n", read(routers))
    write(routers, text)
    commit(project, "Edit")
    assert_added(add_resource(project, "customer", "name:str"))
    assert "ROUTERS = [decisions.router, customers.router]\n" in read(routers)


def test_dry_run_shows_files_and_writes_none(project: Path) -> None:
    """New files are listed with their length, others with the lines that would be new."""
    done = add_resource(project, "customer", "name:str", "--dry-run")
    assert done.returncode == 0, done.stdout
    assert re.search(r"(?m)^new     src/models/customer.py \(\d+ lines\)$", done.stdout)
    assert "edit    src/main.py\n" in done.stdout
    assert "+         state.customers = build_customer_service(postgres)\n" in done.stdout
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_passes_everything_on(project: Path) -> None:
    """Brackets and question marks reach the command; a plural and options do, too."""
    fields = "fields=status:enum(open,paid) note:text? size:int:index"
    make(project, "resource", "name=ox", fields, "plural=oxen", "args=--dry-run")
    assert git(project, "status", "--porcelain", "src", "tests", "migrations") == ""
    make(project, "resource", "name=ox", fields, "plural=oxen")
    assert 'APIRouter(prefix="/oxen"' in read(project / "src/api/oxen.py")
    assert 'Status = Literal["open", "paid"]' in read(project / "src/models/ox.py")


# What is refused


REFUSED: list[tuple[str, str, str]] = [
    ("", "name:str", "use small letters, digits and _, such as customer"),
    ("Customer", "name:str", "'Customer' is no name"),
    ("cust-omer", "name:str", "'cust-omer' is no name"),
    ("../customer", "name:str", "is no name"),
    ("class", "name:str", "class is a word of Python's: try own_class"),
    ("customers", "name:str", "looks like a plural: give the singular, name=customer,"),
    ("exception", "name:str", "Exception is a class of Python's"),
    ("testimonial", "name:str", "pytest takes what starts with test for a test"),
    ("page", "name:str", "page is used for something else"),
    ("a" * 25, "name:str", "is too long: use at most 24 characters"),
    ("l", "name:str", "l is too short: use a word, such as customer"),
    ("customer", "l:str", "l looks like 1"),
    ("customer", "", "a resource needs fields, such as email:str:unique"),
    ("customer", "name", "'name' describes no field: write name:type"),
    ("customer", "name:", "'name:' describes no field"),
    ("customer", "name:varchar", "name: there is no type 'varchar', only str, text, int,"),
    ("customer", "name:str:primary", "there is no 'primary', only unique, index, readonly"),
    ("customer", "name:str name:text", "there are two fields name"),
    ("customer", "class:str", "class is a name of Python's or Pydantic's: try own_class"),
    ("customer", "model_dump:str", "model_dump is a name of Python's or Pydantic's"),
    ("customer", "id:uuid", "each resource has id, created_at, version already"),
    ("customer", "date:date", "date is the name of a type: try own_date"),
    ("customer", "field:str", "Field would mean two things in src/models/customer.py"),
    ("customer", "note:text:unique", "text cannot be unique"),
    ("customer", "paid:bool:unique", "bool cannot be unique"),
    ("customer", "paid_at:date:readonly", "when a row is added: add a ?"),
    ("customer", "paid_at:date?:readonly", "customer needs a field that is neither readonly nor"),
    ("customer", "note:text:index", "text is too long for an index, str is not"),
    ("customer", "status:enum(open)", "an enum has two or more names"),
    ("customer", "status:enum(open,open)", "an enum has two or more names"),
    ("customer", "status:enum(a;b,c)", "an enum has two or more names"),
    ("customer", "name:str(20)", "only enum and ref have something in brackets"),
    ("customer", "group:ref(group)", "there is no resource group to refer to: make that first"),
    ("customer", "parent:ref(customer)", "the first customer has none to refer to: add a ?"),
    ("customer", "parent:ref(customer)?", "customer needs a field that is neither readonly nor"),
    ("decision", "name:str", "src/clients/decisions.py exists already"),
    ("router", "name:str", "router is used for something else"),
    ("health", "name:str", "src/api/health.py has a Health already"),
    ("setting", "name:str", "tests/support/settings.py exists already"),
    ("doc", "name:str", "src/api/docs.py exists already"),
    ("response", "name:str", "response is used for something else"),
    ("score", "name:str", "src/models/credit_score.py has a Score already"),
    ("cursor", "name:str", "Cursor would mean two things in"),
]
# Tries each of them in one process.
TRY_ALL = """
import json, sys
from dev.resource.command import run

for name, fields, _ in json.load(sys.stdin):
    try:
        run(name, fields)
    except SystemExit as exc:
        print(json.dumps(str(exc)))
    else:
        print("written")
"""


@pytest.fixture(scope="module")
def outcomes(pristine: Path) -> dict[tuple[str, str], str]:
    """What becomes of resources that cannot be, by name and fields."""
    done = subprocess.run(
        [str(pristine / ".venv/bin/python"), "-c", TRY_ALL],
        cwd=pristine,
        input=json.dumps(REFUSED),
        capture_output=True,
        text=True,
        check=True,
    )
    assert git(pristine, "status", "--porcelain") == ""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    cases = [(name, fields) for name, fields, _ in REFUSED]
    return dict(zip(cases, lines, strict=True))


@pytest.mark.parametrize(("name", "fields", "words"), REFUSED)
def test_what_cannot_be_is_refused(
    outcomes: dict[tuple[str, str], str], name: str, fields: str, words: str
) -> None:
    """One line says how to fix it, and nothing is written."""
    outcome = outcomes[name, fields]
    assert words in outcome
    assert "\n" not in outcome


def test_command_without_arguments_is_refused(pristine: Path) -> None:
    """One line shows how it is used."""
    done = run_command(pristine, "resource")
    assert_refused(pristine, done, 'write make resource name=customer fields="email:str:unique')


def test_second_resource_of_a_name_is_refused(project: Path) -> None:
    """What was written is not written over."""
    assert_added(add_resource(project, "customer", "name:str"))
    commit(project, "Add customers")
    done = add_resource(project, "customer", "name:str")
    assert_refused(project, done, "src/models/customer.py exists already: choose another name")


def test_table_and_path_that_exist_are_refused(project: Path) -> None:
    """What somebody has written by hand is not served by two routes, or made twice."""
    route = (
        '\n\n@router.get("/baskets/{basket_id}")\nasync def basket() -> None:\n    """Return."""\n'
    )
    write(project / "src/api/decisions.py", read(project / "src/api/decisions.py") + route)
    commit(project, "Edit")
    done = add_resource(project, "basket", "name:str")
    assert_refused(project, done, "has the path /baskets/{basket_id}: choose another name")
    change(
        project,
        "migrations/versions/0001_decisions.py",
        "CREATE TABLE d",
        "CREATE TABLE shelves ()",
    )
    commit(project, "Edit")
    done = add_resource(project, "shelf", "name:str", "--plural=shelves")
    assert_refused(project, done, "0001_decisions.py makes the table shelves")


def test_two_newest_migrations_are_refused(project: Path) -> None:
    """As after a merge of two branches: one line says which they are."""
    text = read(project / "migrations/versions/0001_decisions.py")
    write(project / "migrations/versions/0002_more.py", text.replace('"0001"', '"0002"'))
    commit(project, "Merge")
    done = add_resource(project, "customer", "name:str")
    assert_refused(project, done, "the migrations 0001 and 0002 both are the newest")


@pytest.mark.parametrize(
    ("path", "old", "new", "by_hand"),
    [
        ("src/main.py", "def lifespan(", "def life(", "state.customers = build_customer_service("),
        ("src/main.py", "postgres = connect", "database = connect", "from src.services.customers"),
        ("src/api/routers.py", "\nROUTERS:", "\nALL:", "ROUTERS = [customers.router, ...]"),
        ("src/api/routers.py", "\nROUTERS:", "\nROUTERS(", "from src.api import customers"),
    ],
)
def test_tree_that_has_moved_is_not_written_to(
    project: Path, path: str, old: str, new: str, by_hand: str
) -> None:
    """The lines to add by hand are shown; with `--skip` the rest is written without that file."""
    change(project, path, old, new)
    commit(project, "Move")
    done = add_resource(project, "customer", "name:str")
    assert done.returncode == 1
    assert done.stdout.startswith(("nothing is written", f"{path} cannot be read"))
    assert git(project, "status", "--porcelain") == ""
    if "cannot be read" in done.stdout:
        return
    assert f"--skip={path}" in done.stdout
    assert by_hand in done.stdout
    assert_added(add_resource(project, "customer", "name:str", f"--skip={path}"))
    assert path not in git(project, "status", "--porcelain")


# Odd names

WORDS = st.sampled_from(
    [
        *keyword.kwlist,
        *keyword.softkwlist,
        *["abort", "api", "app", "base_model", "bool", "bus", "child", "config", "data", "dict"],
        *["error", "fast_api", "field", "file", "hash", "header", "input", "item", "json", "key"],
        *["limit", "list", "literal", "log", "main", "match", "model", "name", "news", "object"],
        *["offset", "order", "person", "query", "reference", "request", "schema", "select", "self"],
        *["series", "session", "status", "store", "str", "sum", "table", "task", "type", "user"],
        *["uuid", "value", "warning", "x", "address", "box", "city", "key_2", "user_group"],
    ]
)
NAMES = WORDS | st.from_regex(r"\A[a-z][a-z0-9_]{0,24}\Z") | st.text(min_size=1, max_size=8)
FLAGS = st.sampled_from(["", "?", ":unique", ":index", "?:unique:index"])
TYPES = st.sampled_from(["str", "int", "decimal", "date", "datetime", "uuid", "bool", "text"])
FIELDS = st.lists(st.builds("{}:{}{}".format, WORDS, TYPES, FLAGS), min_size=1, max_size=5)


@given(name=NAMES.filter(lambda text: text[0] != "-" and "\0" not in text), fields=FIELDS)
@settings(
    max_examples=15 if EVERYTHING else 5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_name_is_refused_or_works(odd_project: Path, name: str, fields: list[str]) -> None:
    """Whatever it is called, a resource is refused by one line, or is clean and is served."""
    done = add_resource(odd_project, name, " ".join(fields))
    if done.returncode:
        assert_refused(odd_project, done, "")
        return
    try:
        assert_works(odd_project)
    finally:
        git(odd_project, "reset", "--hard", "--quiet")
        git(odd_project, "clean", "--force", "-d", "--quiet", "src", "tests", "migrations")


@pytest.fixture(scope="module")
def odd_project(
    snapshot: Path, environment_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A service to which many resources are added, one after the other."""
    folder = tmp_path_factory.mktemp("odd") / "service"
    return start_project(folder, snapshot, environment_folder, {"example": "none"})


def assert_works(folder: Path) -> None:
    """The code is clean, and the service can be built and described, each model by its name."""
    for command in (["check"], ["format", "--check"]):
        done = run_command(folder, "run", "ruff", *command, ".")
        assert done.returncode == 0, done.stdout
    code = "from src.main import app; print(*app.openapi()['components']['schemas'])"
    done = run(folder, str(folder / ".venv/bin/python"), "-W", "error", "-c", code)
    assert done.returncode == 0, done.stdout
    assert "__" not in done.stdout
    collected = run_command(folder, "run", "pytest", "-q", "-n0", "--collect-only", "tests/unit")
    assert collected.returncode == 0, collected.stdout
