"""Applications for credit in, decisions out."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from src.models.credit_score import CreditApplication, Decision
from src.services.decisions import DecisionService

router = APIRouter(prefix="/decisions", tags=["decisions"])


@router.post("", status_code=201)
async def create_decision(
    application: CreditApplication, request: Request, response: Response
) -> Decision:
    """Score an application for credit and keep the decision."""
    service: DecisionService = request.app.state.decisions
    decision = await service.decide(application)
    response.headers["Location"] = f"{router.prefix}/{decision.id}"
    return decision


@router.get("/{decision_id}")
async def get_decision(decision_id: UUID, request: Request) -> Decision:
    """Return an earlier decision."""
    service: DecisionService = request.app.state.decisions
    return await service.get(decision_id)
