"""Crash a service with the usual handlers and a rendered one; show both logs in README.md."""

import re
import site
import tempfile
from itertools import groupby
from pathlib import Path

import httpx2

from bench.servers import ROOT, hello, running

README = ROOT / "README.md"
MARKS = re.compile(r"(?s)(<!-- before -->\n).*?(\n[^\n]+\n\n<!-- after -->\n).*?(<!-- end -->)")
UNDERLINE = re.compile(r"[ ~^]+")
CORRELATION_ID = "0199f3a7-5c1e-4d2b-9a60-3e8f7b1c2d4e"


def logged(target: str, cwd: Path, *options: str) -> str:
    """Return what a crash leaves in the log of an app."""
    with running(target, cwd, *options, env={"LOG_FORMAT": "console"}) as server:
        before = len(server.output.read_bytes())
        httpx2.get(f"{server.url}/crash", headers={"X-Request-ID": CORRELATION_ID})
        server.process.terminate()
        server.process.wait()
        text = server.output.read_bytes()[before:].decode()
    for folder in (*site.getsitepackages(), cwd):
        text = text.replace(f"{folder}/", "")
    return re.split(r"(?m)^.*Shutting down", text)[0].strip()


def block(text: str) -> str:
    """Return a log as a code block, long runs of frames folded, without what underlines code."""
    shown = []
    for indented, run in groupby(text.splitlines(), lambda line: line.startswith("  ")):
        lines = list(run)
        starts = [number for number, line in enumerate(lines) if is_frame(line)]
        if indented and len(starts) > 2:
            last = starts[-1]
            folded = f"  ... {last} lines, {len(starts) - 1} frames of frameworks ..."
            lines = [folded, *lines[last:]]
        shown += [line for line in lines if not UNDERLINE.fullmatch(line)]
    return "\n".join(["```", *shown, "```", ""])


def is_frame(line: str) -> bool:
    """Return whether a line of a traceback is the first of a frame."""
    return line.lstrip().startswith("File ")


def main() -> None:
    """Crash both, and replace what stands between the marks of the README."""
    with tempfile.TemporaryDirectory() as name:
        service = hello(Path(name, "service"))
        before = block(logged("bench.peers:three_handlers", ROOT, "--factory"))
        after = block(logged("src.hello:app", service))
    text = README.read_text(encoding="utf-8")
    text = MARKS.sub(lambda marks: f"{marks[1]}{before}{marks[2]}{after}{marks[3]}", text)
    README.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
