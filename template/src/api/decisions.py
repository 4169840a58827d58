"""Applications for credit in, decisions out."""

from uuid import UUID

from fastapi import APIRouter, Response

from src.airtight import raises
from src.api.dependencies import DecisionServiceDep
from src.models.credit_score import CreditApplication, Decision
from src.utils.errors import DecisionNotFoundError

router = APIRouter(prefix="/decisions", tags=["decisions"])


@router.post("", status_code=201)
async def create_decision(
    application: CreditApplication, decisions: DecisionServiceDep, response: Response
) -> Decision:
    """Score an application for credit and store the decision."""
    decision = await decisions.decide(application)
    response.headers["Location"] = f"{router.prefix}/{decision.id}"
    return decision


@router.get("/{decision_id}", responses=raises(DecisionNotFoundError))
async def get_decision(decision_id: UUID, decisions: DecisionServiceDep) -> Decision:
    """Return an earlier decision."""
    return await decisions.get(decision_id)
