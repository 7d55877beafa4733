"""axe-core's rules, for any page."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

__all__ = ["check_accessibility"]

_AXE = Axe()


def check_accessibility(page: Page, state: str) -> None:
    """Fails on what axe finds serious or critical in this state of the page."""
    found = _AXE.run(page).response["violations"]
    bad = {
        violation["id"]: [node["html"] for node in violation["nodes"]]
        for violation in found
        if violation["impact"] in ("serious", "critical")
    }
    assert bad == {}, state
