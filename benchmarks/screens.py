"""Pictures of shared screens: HTML files as Chromium shows them, to evaluate students on.

    python -m benchmarks.screens FOLDER_OF_HTML --out screens
    clearcall-train evaluate --checkpoint small --data screens --region whole

Which files, which part of each, at which scale of the screen and whether on dark ground depends on
the seed and on the files alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

_SIZE_PX = (1280, 720)
_SCALES = (1.0, 1.0, 1.5, 2.0)  # px of the screen for one of the page
_DARK_EVERY = 3
_DARK_STYLE = "html { filter: invert(1) hue-rotate(180deg); background: #111 }"
_FAMILIES = ("sans-serif", "serif", "monospace", "")  # the last leaves what the page asks for
_TEXT_PX = (11, 21)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screens", description=__doc__)
    parser.add_argument("pages", type=Path, help="folder with HTML files, also below")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--count", type=int, default=24, help="of pictures (default: 24)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chromium = os.environ.get("CLEARCALL_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("error: Chromium is missing. Install it: apt-get install chromium", file=sys.stderr)
        return 1
    files = sorted(arguments.pages.rglob("*.html"))
    if not files:
        print(f"error: {arguments.pages} holds no HTML file.", file=sys.stderr)
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(arguments.seed)
    chosen = [files[at] for at in rng.permutation(len(files))[: arguments.count]]
    _show(chosen, rng, chromium, arguments.out)
    return 0


def _show(files: Sequence[Path], rng: np.random.Generator, chromium: str, out: Path) -> None:
    width, height = _SIZE_PX
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for number, file in enumerate(files):
            scale = _SCALES[number % len(_SCALES)]
            context = browser.new_context(
                viewport={"width": round(width / scale), "height": round(height / scale)},
                device_scale_factor=scale,
            )
            page = context.new_page()
            page.goto(file.resolve().as_uri())
            is_dark = number % _DARK_EVERY == 0
            page.add_style_tag(content=_style(rng) + _DARK_STYLE * is_dark)
            _scroll(page, rng)
            page.screenshot(path=out / f"{number:03d}-{scale:g}x{'-dark' * is_dark}.png")
            context.close()
        browser.close()


def _style(rng: np.random.Generator) -> str:
    family = str(rng.choice(_FAMILIES))
    text_px = int(rng.integers(*_TEXT_PX))
    chosen = f"font-family: {family} !important; " if family else ""
    return f"p, li, td {{ {chosen}font-size: {text_px}px !important }} "


def _scroll(page: Page, rng: np.random.Generator) -> None:
    hidden_px = int(page.evaluate("document.body.scrollHeight - innerHeight"))
    page.evaluate("top => scrollTo(0, top)", int(rng.uniform(0, max(1, hidden_px))))


if __name__ == "__main__":
    sys.exit(main())
