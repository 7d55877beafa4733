"""Pictures of shared screens: HTML files as Chromium shows them, to evaluate students on.

    python -m benchmarks.screens FOLDER_OF_HTML --out screens
    clearcall-train evaluate --checkpoint small --data screens --region whole

The seed and the files decide which files are shown, which part of each, in which type, at which
scale and whether on dark ground; this machine's fonts and its Chromium decide the rest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import Error, Page, sync_playwright

from trainer.commands.places import require_folder_place

_SIZE_PX = (1280, 720)
_SCALES = (1.0, 1.0, 1.5, 2.0)  # px of the screen for one of the page
_DARK_EVERY = 3
_DARK_STYLE = (
    "html { filter: invert(1) hue-rotate(180deg); background: #eee } "
    "img, video { filter: invert(1) hue-rotate(180deg) }"
)
_FAMILIES = ("sans-serif", "serif", "monospace", "")  # the last leaves what the page asks for
_TEXT_PX = (11, 21)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the pictures; 1 if there is nothing to show or to show it with."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screens", description=__doc__)
    parser.add_argument("pages", type=Path, help="folder with HTML files, also below")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the pictures")
    parser.add_argument("--count", type=int, default=24, help="of pictures (default: 24)")
    parser.add_argument("--seed", type=int, default=0, help="0 or more (default: 0)")
    given = parser.parse_args(arguments)
    if given.count < 1 or given.seed < 0:
        parser.error("--count must be 1 or more, --seed 0 or more")
    try:
        written = _show(given.pages, given.out, count=given.count, seed=given.seed)
    except (OSError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    print(f"{written} pictures in {given.out}")
    return 0


def _show(pages: Path, out: Path, *, count: int, seed: int) -> int:
    """How many pictures it wrote; a page that Chromium cannot show is told and passed over."""
    files = [path for path in sorted(pages.rglob("*.htm*")) if path.is_file()]
    if not files:
        raise FileNotFoundError(f"{pages} holds no HTML file. Name a folder of some.")
    require_folder_place("--out", out)
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"--out {out} is not empty. Name an empty or a new folder.")
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    written = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        for number, at in enumerate(rng.permutation(len(files))[:count]):
            scale = _SCALES[number % len(_SCALES)]
            width, height = (round(side / scale) for side in _SIZE_PX)
            context = browser.new_context(
                viewport={"width": width, "height": height},
                device_scale_factor=scale,
                bypass_csp=True,
            )
            is_dark = number % _DARK_EVERY == 0
            path = out / f"{number:03d}-{scale:g}x{'-dark' * is_dark}.png"
            try:
                _picture(context.new_page(), files[at], rng, path, is_dark=is_dark)
                written += 1
            except Error as exc:
                print(f"{files[at]} is left out: {exc.message}", file=sys.stderr)
            context.close()
        browser.close()
    return written


def _chromium() -> str:
    path = os.environ.get("CLEARCALL_CHROMIUM") or shutil.which("chromium")
    if path is None:
        raise FileNotFoundError("Chromium is missing. Install it: apt-get install chromium")
    return path


def _picture(
    page: Page, file: Path, rng: np.random.Generator, path: Path, *, is_dark: bool
) -> None:
    style, place = _style(rng), rng.random()
    page.goto(file.resolve().as_uri())
    page.add_style_tag(content=style + _DARK_STYLE * is_dark)
    hidden_px = int(page.evaluate("document.documentElement.scrollHeight - innerHeight"))
    page.evaluate("top => scrollTo(0, top)", int(place * max(1, hidden_px)))
    page.screenshot(path=path)


def _style(rng: np.random.Generator) -> str:
    family = str(rng.choice(_FAMILIES))
    text_px = int(rng.integers(*_TEXT_PX))
    chosen = f"font-family: {family} !important; " if family else ""
    return f"p, li, td {{ {chosen}font-size: {text_px}px !important }} "


if __name__ == "__main__":
    sys.exit(main())
