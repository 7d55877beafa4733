"""PNG grids of examples: one file a protocol, one row a picture, one column a method."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from service.model.atomic import write_bytes
from trainer.cases import Case

__all__ = ["GRID_RANKS", "draw_grid", "write_grids"]

GRID_RANKS = ("best", "median", "worst 1")
GRID_COLUMNS = ("input", "student", "clean")
_GAP_PX = 8
_TITLE_PX = 26
_PAPER, _INK = (250, 250, 250), (32, 32, 36)


def write_grids(
    folder: Path, cases: Sequence[Case], *, columns: Sequence[str] = GRID_COLUMNS
) -> list[Path]:
    """Writes `grid-<protocol>.png` for each protocol: its best, median and worst picture.

    Returns:
        The files, in the order of the cases' protocols.

    Raises:
        OSError: the folder cannot be written.
    """
    paths = []
    for protocol in dict.fromkeys(case.protocol for case in cases):
        shown = [case for case in cases if case.protocol == protocol]
        ranked = [case for rank in GRID_RANKS for case in shown if case.rank == rank]
        encoded = io.BytesIO()
        # Codecs have rungs, not ranks: all of theirs are shown.
        draw_grid(ranked or shown, columns).save(encoded, "png")
        path = folder / f"grid-{re.sub(r'[^a-z0-9.]+', '-', protocol.lower())}.png"
        write_bytes(path, encoded.getvalue())
        paths.append(path)
    return paths


def draw_grid(cases: Sequence[Case], columns: Sequence[str] = GRID_COLUMNS) -> Image.Image:
    """One row for each case, its images side by side at their own size.

    Raises:
        ValueError: there is no case, or one lacks a column.
    """
    if not cases:
        raise ValueError("a grid needs at least one example")
    missing = [name for name in columns if any(name not in case.images for case in cases)]
    if missing:
        raise ValueError(
            f"the examples have no {missing[0]!r}; they have {', '.join(cases[0].images)}"
        )
    heights = [case.images["clean"].shape[0] for case in cases]
    cell_px = max(case.images["clean"].shape[1] for case in cases)
    width = _GAP_PX + (cell_px + _GAP_PX) * len(columns)
    height = _GAP_PX + sum(_TITLE_PX + row + _GAP_PX for row in heights)
    grid = Image.new("RGB", (width, height), _PAPER)
    pen, font = ImageDraw.Draw(grid), ImageFont.load_default(13)
    top = _GAP_PX
    for case, row in zip(cases, heights, strict=True):
        for number, column in enumerate(columns):
            left = _GAP_PX + number * (cell_px + _GAP_PX)
            pen.text((left, top + 4), _caption(case, column, number), fill=_INK, font=font)
            grid.paste(Image.fromarray(case.images[column]), (left, top + _TITLE_PX))
        top += _TITLE_PX + row + _GAP_PX
    return grid


def _caption(case: Case, column: str, number: int) -> str:
    score = f"{case.psnr_db[column]:.2f} dB" if column in case.psnr_db else ""
    if number == 0:
        return f"{case.rank}: {column} {score}"
    return f"{column} {score}" if score else f"{column}: {Path(case.name).stem[:24]}"
