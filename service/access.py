"""Who may do what. Until there are admin keys, admin calls are off."""

from __future__ import annotations

from starlette.exceptions import HTTPException

__all__ = ["require_admin"]


async def require_admin() -> None:
    """Lets a request through that has an admin key.

    Raises:
        HTTPException: It has none.
    """
    raise HTTPException(403, "Admin calls are off: no admin key is set.")
