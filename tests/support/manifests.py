"""The manifests of a rendered service, as `kubectl kustomize` shows them."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

OVERLAYS = Path("deploy/kubernetes/overlays")
Manifest = dict[str, Any]


def kustomize(folder: Path, overlay: str) -> str:
    """Return the manifests of an overlay as one text."""
    command = ["kubectl", "kustomize", str(OVERLAYS / overlay)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def manifests(folder: Path, overlay: str) -> list[Manifest]:
    """Return the manifests of an overlay."""
    return list(yaml.safe_load_all(kustomize(folder, overlay)))


def of_kind(found: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the manifests of a kind by their names."""
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


def pod_specs(found: list[Manifest]) -> dict[str, Manifest]:
    """Return what runs in pods, by the name of its Deployment or Job."""
    controllers = of_kind(found, "Deployment") | of_kind(found, "Job")
    return {name: each["spec"]["template"]["spec"] for name, each in controllers.items()}


def secret_keys(pod: Manifest) -> set[str]:
    """Return the names that a pod takes from Secrets."""
    variables = pod["containers"][0].get("env", [])
    return {each["valueFrom"]["secretKeyRef"]["key"] for each in variables}
