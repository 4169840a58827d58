"""The manifests are valid, confine what they run, and give the service all its settings."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest

from tests.support.files import read, write
from tests.support.manifests import kustomize, manifests, of_kind, pod_specs, secret_keys
from tests.support.template import ANCHORS, render_into

OVERLAYS = (
    "development",
    "production",
)
OF_UVICORN = {"FORWARDED_ALLOW_IPS"}
# Kinds that an operator brings along; Kubernetes has no schema for them.
FOREIGN_KINDS = {"PodMonitor"}
MAX_CONNECTIONS = 97  # of PostgreSQL, by default, without those that it keeps for superusers
CHECKOV = [
    sys.executable,
    "-m",
    "uv",
    "tool",
    "run",
    "--quiet",
    "checkov>=3.3",
]

pytestmark = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")


@pytest.fixture(scope="module")
def renders(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One render of each kind, for Kubernetes."""
    folders = {}
    for kind, answers in ANCHORS.items():
        folders[kind] = tmp_path_factory.mktemp("kubernetes") / "service"
        render_into(folders[kind], snapshot, answers | {"deploy": ["kubernetes"]})
    return folders


@pytest.fixture(params=ANCHORS)
def folder(request: pytest.FixtureRequest, renders: dict[str, Path]) -> Path:
    """The render of a kind."""
    return renders[request.param]


def test_manifests_are_valid(folder: Path) -> None:
    """Each overlay has what the schemas of the newest Kubernetes allow, and nothing else."""
    version = kubernetes_validate.latest_version()
    for overlay in OVERLAYS:
        found = manifests(folder, overlay)
        for manifest in found:
            if manifest["kind"] not in FOREIGN_KINDS:
                kubernetes_validate.validate(manifest, version, strict=True)
        assert len(of_kind(found, "Namespace")) == 1


def test_overlays_do_not_meet(folder: Path) -> None:
    """Development has a namespace of its own, and all that it has is in it."""
    names = {}
    for overlay in OVERLAYS:
        found = manifests(folder, overlay)
        (names[overlay],) = of_kind(found, "Namespace")
        spaces = {each["metadata"].get("namespace") for each in found}
        assert spaces - {None} == {names[overlay]}
    assert names["development"] == f"{names['production']}-development"


def test_each_setting_has_its_place(folder: Path) -> None:
    """A setting is in the ConfigMap or in the Secret, and what is there is a setting."""
    for overlay in OVERLAYS:
        found = manifests(folder, overlay)
        (config_map,) = of_kind(found, "ConfigMap").values()
        service = pod_specs(found)["service"]
        names = config_map["data"].keys() | secret_keys(service)
        assert names - OF_UVICORN == settings_of(folder)
        assert not config_map["data"].keys() & secret_keys(service)


def test_connections_fit_into_postgres(folder: Path) -> None:
    """All replicas there may be, in an update as well, have no more than PostgreSQL lets in."""
    found = manifests(folder, "production")
    (config_map,) = of_kind(found, "ConfigMap").values()
    scalers = of_kind(found, "HorizontalPodAutoscaler")
    replicas = scalers["service"]["spec"]["maxReplicas"] + 1
    workers = of_kind(found, "Deployment").get("worker")
    if workers:
        replicas += workers["spec"]["replicas"] + 1
    size = int(config_map["data"].get("DATABASE_POOL_SIZE", 0))
    processes = replicas * int(config_map["data"]["WORKERS"])
    assert processes * size + 1 <= MAX_CONNECTIONS  # the Job has one


def settings_of(folder: Path) -> set[str]:
    """Return the names of the settings of a service."""
    tree = ast.parse(read(folder / "src/config.py"))
    fields = [node.target for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)]
    return {field.id.upper() for field in fields if isinstance(field, ast.Name)}


def test_secret_of_the_readme_is_the_one_that_is_read(folder: Path) -> None:
    """The command in the README writes all that the pods read, and no manifest is a Secret."""
    found = manifests(folder, "production")
    needed = set[str]().union(*map(secret_keys, pod_specs(found).values()))
    section = read(folder / "README.md").partition("## On Kubernetes")[2].partition("\n## ")[0]
    assert set(re.findall(r"--from-literal=(\w+)=", section)) == needed
    assert not of_kind(found, "Secret")


def test_selectors_select(folder: Path) -> None:
    """Services, budgets, policies and monitors name labels that pods have."""
    found = manifests(folder, "production")
    pods = {
        name: each["spec"]["template"]["metadata"]["labels"]
        for kind in ("Deployment", "Job")
        for name, each in of_kind(found, kind).items()
    }
    labels = [set(own.items()) for own in pods.values()]
    for manifest in found:
        spec = manifest.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector") or {}
        wanted = set(selector.get("matchLabels", selector).items())
        assert any(wanted <= own for own in labels), manifest["metadata"]["name"]


@pytest.mark.parametrize("kind", ["default", "orders"])
def test_policies_pass(renders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """No check of checkov fails, but those that `.checkov.yaml` leaves out, with a reason each."""
    folder = renders[kind]
    files = []
    for overlay in OVERLAYS:
        file = tmp_path / f"{overlay}.yaml"
        write(file, kustomize(folder, overlay))
        files += ["--file", str(file)]
    configuration = folder / "deploy/kubernetes/.checkov.yaml"
    command = [*CHECKOV, "--config-file", str(configuration), *files]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Failed checks: 0" in done.stdout
    skipped = re.findall(r"(?m)^ +- (CKV\w+)(.*)$", read(configuration))
    assert skipped
    assert all(reason.startswith(" # ") for _, reason in skipped)
