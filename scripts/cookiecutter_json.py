"""Write `cookiecutter.json`: the questions of `copier.yml` in the format of Cookiecutter."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
# Cookiecutter makes the folder before Copier can refuse the answer, so any answer has to be a name of one.
FOLDER = "{{ cookiecutter.project_slug.replace('/', '-').replace('\\\\', '-') or '_' }}"


def choices(question: dict[str, Any]) -> dict[Any, str]:
    """Return the answers that a question offers, with what is shown for them."""
    offered = question.get("choices", [])
    if isinstance(offered, dict):
        return {answer: text for text, answer in offered.items()}
    return {answer: answer for answer in offered}


def default(question: dict[str, Any], names: list[str]) -> Any:
    """Return what Cookiecutter takes for the default: of several choices the first one."""
    answer = question["default"]
    if question.get("multiselect"):
        return ",".join(answer)
    if "choices" in question:
        return [answer, *(choice for choice in choices(question) if choice != answer)]
    if isinstance(answer, str) and "{" in answer:
        return re.sub(rf"(?<![\w.'\"])({'|'.join(names)})\b", r"cookiecutter.\1", answer)
    return answer


def prompt(question: dict[str, Any]) -> Any:
    """Return what Cookiecutter asks."""
    text: str = question["help"]
    if "when" in question:
        text += f" Counts only where {question['when'].strip('{} ')}."
    if question.get("multiselect"):
        return f"{text} Any of {', '.join(choices(question))}, with commas between; or none."
    if "choices" in question:
        return {"__prompt__": text, **choices(question)}
    return text


def cookiecutter_json(copier_yml: str) -> str:
    """Return the text of `cookiecutter.json`."""
    context: dict[str, Any] = {}
    several: dict[str, list[str]] = {}
    prompts: dict[str, Any] = {}
    questions = yaml.safe_load(copier_yml)
    names = [name for name in questions if not name.startswith("_")]
    for name in names:
        question = questions[name]
        context[name] = default(question, names)
        prompts[name] = prompt(question)
        if question.get("multiselect"):
            several[name] = list(choices(question))
    context["_several"] = several
    context["__folder"] = FOLDER
    context["__prompts__"] = prompts
    return json.dumps(context, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    text = cookiecutter_json((ROOT / "copier.yml").read_text(encoding="utf-8"))
    (ROOT / "cookiecutter.json").write_text(text, encoding="utf-8", newline="\n")
