"""Write `cookiecutter.json`: the questions of `copier.yml` in words that Cookiecutter understands."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
# Cookiecutter makes the folder before Copier can refuse the answer: whatever it is, one folder and no other.
FOLDER = "{{ cookiecutter.project_slug.replace('/', '-').replace('\\\\', '-') or '_' }}"


def choices(question: dict[str, Any]) -> dict[Any, str]:
    """Return the answers that a question offers, with what is shown for them."""
    offered = question.get("choices", [])
    return (
        {answer: text for text, answer in offered.items()}
        if isinstance(offered, dict)
        else {a: a for a in offered}
    )


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
    return {"__prompt__": text, **choices(question)} if "choices" in question else text


def cookiecutter_json(copier_yml: str) -> str:
    """Return the text of `cookiecutter.json`."""
    questions = {k: v for k, v in yaml.safe_load(copier_yml).items() if not k.startswith("_")}
    several = {
        name: list(choices(question))
        for name, question in questions.items()
        if question.get("multiselect")
    }
    context = {name: default(question, list(questions)) for name, question in questions.items()}
    context |= {"_several": several, "__folder": FOLDER}
    context |= {"__prompts__": {name: prompt(question) for name, question in questions.items()}}
    return json.dumps(context, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    text = cookiecutter_json((ROOT / "copier.yml").read_text(encoding="utf-8"))
    (ROOT / "cookiecutter.json").write_text(text, encoding="utf-8", newline="\n")
