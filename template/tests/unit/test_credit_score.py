"""The scorecard scores as its file says."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dev.requests import APPLICATION
from src.models.credit_score import CreditApplication, Scorecard
from src.utils.errors import CreditScoringModelNotFoundError

FILE = Path("src/models/credit_score.json")
MODEL = Scorecard.load(FILE)


def application(**changes: Any) -> CreditApplication:
    """Return an application that differs from the example in some fields."""
    return CreditApplication.model_validate({**APPLICATION, **changes})


def score(**changes: Any) -> int:
    """Return the score of such an application."""
    features = MODEL.features(application(**changes))
    return MODEL.score(features).score


def test_score_is_the_sum_of_the_weights() -> None:
    """Probability, points and outcome follow from the weights that the file holds."""
    card = json.loads(FILE.read_text(encoding="utf-8"))
    durations = dict(card["numbers"]["duration_months"])
    features = MODEL.features(application())
    assert features["purpose"] == card["categories"]["purpose"]["used_car"]
    assert features["duration_months"] == durations[19]

    result = MODEL.score(features)
    probability = result.default_probability
    odds = probability / (1 - probability)
    weights = card["intercept"] + sum(features.values())
    assert odds == pytest.approx(math.exp(weights), rel=0.01)
    is_approved = result.outcome == "approved"
    assert is_approved is (probability < card["approve_below"])


def test_risk_lowers_the_score() -> None:
    """A longer, riskier credit for someone with less has a lower score."""
    assert score(duration_months=6) > score(duration_months=24)
    assert score(duration_months=24) > score(duration_months=60)
    without_account = score(checking_account="none")
    assert without_account > score(checking_account="negative")


@pytest.mark.parametrize("months", [1, 8, 9, 12, 13, 36, 37, 120])
def test_every_number_falls_into_a_bin(months: int) -> None:
    """The ends of the bins belong to the next one, and no number is outside."""
    weights = [
        weight for lower_end, weight in MODEL.numbers["duration_months"] if months >= lower_end
    ]
    features = MODEL.features(application(duration_months=months))
    assert features["duration_months"] == weights[-1]


def test_every_value_that_is_accepted_has_a_weight() -> None:
    """The model knows each category that an application may name."""
    fields = CreditApplication.model_json_schema()["properties"]
    accepted = {name: set(field["enum"]) for name, field in fields.items() if "enum" in field}
    known = {name: set(weights) for name, weights in MODEL.categories.items()}
    assert known == accepted
    assert {*MODEL.categories, *MODEL.numbers} == set(fields)


@pytest.mark.parametrize("content", ["", "{}", '{"name": 1', "[]"])
def test_broken_file_is_no_model(tmp_path: Path, content: str) -> None:
    """A file that holds no scorecard is as good as none, and the cause says why."""
    file = tmp_path / "model.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(CreditScoringModelNotFoundError) as caught:
        Scorecard.load(file)
    assert caught.value.path == file
    assert isinstance(caught.value.__cause__, ValidationError)
    with pytest.raises(CreditScoringModelNotFoundError):
        Scorecard.load(tmp_path / "missing.json")
