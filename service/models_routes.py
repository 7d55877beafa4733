"""The routes of the roll-out: which models there are, and which one is served."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from service.access import (
    ACCESS_ERRORS,
    ADMIN_ERRORS,
    SCHEMES,
    require_admin,
    require_key,
)
from service.errors import EngineStopped, ModelRefused, ModelUnknown
from service.problems import describe_problems
from service.rollout.rollout import Rollout

__all__ = ["router"]

router = APIRouter()
_NO_FOLDER = "No folder of checkpoints is watched: start the service with CLEARCALL_CHECKPOINTS."


@router.get(
    "/models",
    summary="Which models there are",
    responses=describe_problems(*ACCESS_ERRORS, EngineStopped),
    dependencies=[*SCHEMES, Depends(require_key)],
)
async def models(request: Request) -> dict[str, Any]:
    """What is served and pinned, and all checkpoints of the watched folder with their state."""
    rollout: Rollout | None = request.app.state.rollout
    if rollout is not None:
        return rollout.listing()
    served: str = request.app.state.parts.engine.sharpener.checkpoint.model_id
    return {
        "served": served,
        "pinned": None,
        "is_pin_kept": None,
        "problem": _NO_FOLDER,
        "models": [],
    }


@router.post(
    "/models/{model_id}/activate",
    summary="Serve a model and pin it",
    dependencies=[*SCHEMES, Depends(require_admin)],
    responses=describe_problems(*ADMIN_ERRORS, ModelUnknown, ModelRefused, EngineStopped),
)
async def activate(
    request: Request,
    model_id: str,
    force: Annotated[
        bool, Query(description="without the gate; what cannot be loaded is refused all the same")
    ] = False,
) -> dict[str, Any]:
    """Answers when it is served, with what GET /models says then. `latest` ends the pin."""
    rollout: Rollout | None = request.app.state.rollout
    if rollout is None:
        raise ModelRefused(_NO_FOLDER)
    await rollout.activate(model_id, is_forced=force)
    return rollout.listing()
