"""The service with routes that say who calls."""

import asyncio
import logging
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Security, WebSocket

from src.api.authentication import Caller, get_caller, include_protected
from src.main import create_app
from src.services.callers import Principal

logger = logging.getLogger("guarded")
router = APIRouter()


@router.get("/whoami")
async def whoami(caller: Caller, tasks: BackgroundTasks) -> str:
    logger.info("in the endpoint")
    await asyncio.to_thread(logger.info, "in a thread")
    tasks.add_task(logger.info, "in a background task")
    return caller.subject


@router.get("/crash")
async def crash() -> None:
    raise LookupError("a bug")


@router.get("/reports")
async def read_reports(
    caller: Annotated[Principal, Security(get_caller, scopes=["reports:read"])],
) -> str:
    return caller.subject


@router.websocket("/socket")
async def socket(websocket: WebSocket, caller: Caller) -> None:
    await websocket.accept()
    await websocket.send_text(caller.subject)
    await websocket.close()


app = create_app()
include_protected(app, router)
