"""Applications for credit, the scorecard that scores them, and the decisions that follow."""

from bisect import bisect_right
from datetime import datetime
from math import exp, inf
from pathlib import Path
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from src.utils.errors import CreditScoringModelNotFoundError

Features = dict[str, FiniteFloat]  # the weight of each value of an application
Goods = Literal["new_car", "used_car", "furniture", "electronics", "appliances", "repairs"]


class CreditApplication(BaseModel, extra="forbid"):
    """An application for credit; money is in Deutsche Mark, like in the data behind the model."""

    checking_account: Literal["negative", "below_200", "from_200", "none"]
    duration_months: int = Field(ge=1, le=120, examples=[24])
    credit_history: Literal[
        "no_credits", "all_paid_here", "paid_so_far", "delayed", "credits_elsewhere"
    ]
    purpose: Literal[Goods, "education", "retraining", "business", "other"]
    amount: int = Field(ge=1, le=100_000, examples=[3500])
    savings: Literal["below_100", "below_500", "below_1000", "from_1000", "none"]
    employment: Literal["none", "below_1_year", "below_4_years", "below_7_years", "from_7_years"]
    installment_rate: int = Field(
        ge=1, le=4, description="Of the income: 1 from 35 %, 2 from 25 %, 3 from 20 %, 4 below"
    )
    other_debtors: Literal["none", "co_applicant", "guarantor"] = "none"
    other_installments: Literal["none", "bank", "stores"] = "none"


class Score(BaseModel):
    """The result of a model; 20 points more double the odds that the credit is paid back."""

    score: int
    default_probability: float
    outcome: Literal["approved", "declined"]
    model: str


class Decision(Score):
    """A score that was stored."""

    id: UUID
    created_at: datetime


class Scorecard(BaseModel):
    """A logistic model: the weights of an application add up to the log odds of a default."""

    name: str
    intercept: float
    categories: dict[str, dict[str, float]]
    numbers: dict[str, list[tuple[float, float]]]  # from this value on, this weight
    points: tuple[float, float]  # at even odds, and for each unit of log odds
    approve_below: float

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a model from a JSON file; raises CreditScoringModelNotFoundError."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as exc:
            raise CreditScoringModelNotFoundError(path) from exc

    def features(self, application: CreditApplication) -> Features:
        """Return the weight of each value of an application."""
        values = application.model_dump()
        weights = {}
        for name, categories in self.categories.items():
            weights[name] = categories[values[name]]
        for name, bins in self.numbers.items():
            position = bisect_right(bins, (values[name], inf)) - 1
            weights[name] = bins[position][1]
        return weights

    def could_give(self, features: Features) -> bool:
        """Return whether features can come from this model, and not from another or from nowhere."""
        possible = {name: set(weights.values()) for name, weights in self.categories.items()}
        for name, bins in self.numbers.items():
            possible[name] = {weight for _, weight in bins}
        if features.keys() != possible.keys():
            return False
        return all(weight in possible[name] for name, weight in features.items())

    def score(self, features: Features) -> Score:
        """Return what the weights add up to."""
        log_odds = self.intercept + sum(features.values())
        probability = round(1 / (1 + exp(-log_odds)), 4)
        at_even_odds, per_unit = self.points
        return Score(
            score=round(at_even_odds - per_unit * log_odds),
            default_probability=probability,
            outcome="approved" if probability < self.approve_below else "declined",
            model=self.name,
        )
