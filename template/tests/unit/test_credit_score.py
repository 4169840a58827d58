"""The scorecard scores as its file says."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dev.requests import APPLICATION
from src.models.credit_score import CreditApplication, Scorecard
from src.utils.errors import CreditScoringModelNotFoundError

FILE = Path("src/models/credit_score.json")
MODEL = Scorecard.load(FILE)


def score(**changes: Any) -> int:
    return MODEL.score(MODEL.features(CreditApplication(**{**APPLICATION, **changes}))).score


def test_score_is_the_sum_of_the_weights() -> None:
    """Probability, points and outcome follow from the weights that the file holds."""
    card = json.loads(FILE.read_text(encoding="utf-8"))
    features = MODEL.features(CreditApplication(**APPLICATION))  # type: ignore[arg-type]
    assert features["purpose"] == card["categories"]["purpose"]["used_car"]
    assert features["duration_months"] == dict(card["numbers"]["duration_months"])[19]
    result = MODEL.score(features)
    odds = result.default_probability / (1 - result.default_probability)
    assert odds == pytest.approx(
        2.718281828 ** (card["intercept"] + sum(features.values())), rel=0.01
    )
    assert (result.outcome == "approved") is (result.default_probability < card["approve_below"])


def test_risk_lowers_the_score() -> None:
    """A longer, riskier credit for someone with less has a lower score."""
    assert score(duration_months=6) > score(duration_months=24) > score(duration_months=60)
    assert score(checking_account="none") > score(checking_account="negative")


@pytest.mark.parametrize("months", [1, 8, 9, 12, 13, 36, 37, 120])
def test_every_number_falls_into_a_bin(months: int) -> None:
    """The ends of the bins belong to the next one, and no number is outside."""
    bins = MODEL.numbers["duration_months"]
    expected = next(weight for edge, weight in reversed(bins) if months >= edge)
    application = CreditApplication.model_validate({**APPLICATION, "duration_months": months})
    assert MODEL.features(application)["duration_months"] == expected


def test_every_value_that_is_accepted_has_a_weight() -> None:
    """The model knows each category that an application may name."""
    fields = CreditApplication.model_json_schema()["properties"]
    assert {name: set(known) for name, known in MODEL.categories.items()} == {
        name: set(field["enum"]) for name, field in fields.items() if "enum" in field
    }
    assert {*MODEL.categories, *MODEL.numbers} == set(fields)


@pytest.mark.parametrize("content", ["", "{}", '{"name": 1', "[]"])
def test_broken_file_is_no_model(tmp_path: Path, content: str) -> None:
    """A file that holds no scorecard is as good as none, and the cause says why."""
    file = tmp_path / "model.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(CreditScoringModelNotFoundError) as caught:
        Scorecard.load(file)
    assert (caught.value.path, type(caught.value.__cause__)) == (file, ValidationError)
    with pytest.raises(CreditScoringModelNotFoundError):
        Scorecard.load(tmp_path / "missing.json")
