"""The file `.env`, to which commands add what they have made up."""

from dev import ROOT

ENV_FILE = ROOT / ".env"


def append(settings: dict[str, str], comment: str) -> None:
    """Add settings to `.env`, which only its owner may read.

    Args:
        settings: by name.
        comment: stands above them.
    """
    ENV_FILE.touch(mode=0o600)
    ENV_FILE.chmod(0o600)
    before = ENV_FILE.read_text(encoding="utf-8")
    lines = [f"# {comment}"]
    lines += [f"{name}={value}" for name, value in settings.items()]
    with ENV_FILE.open("a", encoding="utf-8", newline="\n") as file:
        if before and not before.endswith("\n"):
            file.write("\n")
        file.write("\n".join([*lines, ""]))
