"""A contact sheet of degradations: what the student is asked to undo, to be looked at before a run.

One row for each kind, clean and degraded side by side, with the drawn strengths beneath. A column
shows the same piece of the same picture all the way down.
"""

from __future__ import annotations

import io
import logging
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from service.model.atomic import write_bytes
from trainer.mixture import CHAINS, DEFAULT_MIXTURE, Mixture
from trainer.operators import ImageArray
from trainer.pictures import read_picture
from trainer.quality import image_psnr_db
from trainer.steps import Chain, carry_out, describe

__all__ = ["draw_preview", "write_preview"]

_ZOOM = 2  # a blur of one px cannot be seen at the size of the pixels of today's screens
_TRIES = 12
_MARGIN_PX = 8
_LABEL_PX = 132
_LINE_PX = 14
_CAPTION_LINES = 3
_HEAD_PX = 30
_PX_PER_LETTER = 5.7
_TITLE = (
    "Of each pair, left: clean; right: degraded. Beneath: PSNR, and the steps with their strengths."
)
_PAPER, _INK, _FAINT = (250, 250, 250), (32, 32, 36), (110, 110, 118)

_log = logging.getLogger(__name__)


def write_preview(
    paths: Sequence[Path],
    output: Path,
    *,
    seed: int,
    columns: int = 4,
    crop_px: int = 96,
    mixture: Mixture = DEFAULT_MIXTURE,
) -> Path:
    """Writes the contact sheet of all kinds as a PNG file.

    Args:
        paths: picture files, of which the seed picks one a column; those that cannot be read are
            named in the log and passed over.
        columns: pairs in a row; pictures are used again if there are fewer.
        crop_px: side of the piece that is shown, enlarged twice.
        mixture: whose shares stand beside the kinds.

    Returns:
        `output`.

    Raises:
        FileNotFoundError: no picture can be read.
        ValueError: columns or crop_px is too small.
        OSError: `output` cannot be written.
    """
    if columns < 1 or crop_px < 16:
        raise ValueError(
            f"columns must be at least 1 and crop_px at least 16, not {columns} and {crop_px}"
        )
    rng = np.random.default_rng(seed)
    images: list[ImageArray] = []
    for index in rng.permutation(len(paths)):
        image = read_picture(paths[index])
        if image is None:
            _log.warning("skipped %s: not a picture that can be read", paths[index])
            continue
        images.append(_detailed_piece(image, crop_px, rng))
        if len(images) == columns:
            break
    if not images:
        raise FileNotFoundError("None of the pictures can be read. Pass a folder of pictures.")
    images = [images[column % len(images)] for column in range(columns)]
    encoded = io.BytesIO()
    draw_preview(images, seed=seed, mixture=mixture).save(encoded, "png")
    write_bytes(output, encoded.getvalue())
    return output


def _detailed_piece(image: ImageArray, side_px: int, rng: np.random.Generator) -> ImageArray:
    """Of several random pieces the one with the most edges: a blurred sky looks like a sky."""
    height, width = (min(side_px, length) for length in image.shape[:2])
    pieces = []
    for _ in range(_TRIES):
        top = int(rng.integers(image.shape[0] - height + 1))
        left = int(rng.integers(image.shape[1] - width + 1))
        pieces.append(image[top : top + height, left : left + width])
    return np.ascontiguousarray(max(pieces, key=_detail))


def _detail(image: ImageArray) -> float:
    grey = image.mean(axis=2)
    return sum(float(np.abs(np.diff(grey, axis=axis)).sum()) for axis in (0, 1))


def draw_preview(
    images: Sequence[ImageArray], *, seed: int, mixture: Mixture = DEFAULT_MIXTURE
) -> Image.Image:
    """One row for each kind of `mixture.CHAINS`, one pair for each image (H, W, 3) uint8 RGB."""
    height_px, width_px = (_ZOOM * max(image.shape[axis] for image in images) for axis in (0, 1))
    column_px = 2 * width_px + 2 + 2 * _MARGIN_PX
    row_px = height_px + _CAPTION_LINES * _LINE_PX + 2 * _MARGIN_PX
    size = (_LABEL_PX + len(images) * column_px, _HEAD_PX + len(CHAINS) * row_px)
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    name_font, font = ImageFont.load_default(18), ImageFont.load_default(12)
    pen.text((_LABEL_PX, _MARGIN_PX), _TITLE, fill=_FAINT, font=font)
    for row, (kind, draw) in enumerate(CHAINS.items()):
        top = _HEAD_PX + row * row_px
        pen.text((_MARGIN_PX, top), kind, fill=_INK, font=name_font)
        pen.text((_MARGIN_PX, top + 24), _share(kind, mixture), fill=_FAINT, font=font)
        for column, clean in enumerate(images):
            chain = draw(np.random.default_rng((seed, row, column)))
            degraded = carry_out(chain, clean)
            left = _LABEL_PX + column * column_px
            sheet.paste(_enlarged(clean), (left, top))
            sheet.paste(_enlarged(degraded), (left + width_px + 2, top))
            caption = textwrap.fill(
                _caption(chain, degraded, clean),
                width=int((column_px - 2 * _MARGIN_PX) / _PX_PER_LETTER),
                max_lines=_CAPTION_LINES,
                placeholder=" ...",
            )
            pen.text((left, top + height_px + 2), caption, fill=_INK, font=font)
    return sheet


def _share(kind: str, mixture: Mixture) -> str:
    share = mixture.shares.get(kind, 0) / sum(mixture.shares.values())
    if share:
        return f"{share:.0%} of the mixture"
    return "besides the mixture" if kind == "clean" else "not in the mixture"


def _caption(chain: Chain, degraded: ImageArray, clean: ImageArray) -> str:
    if not chain:
        return describe(chain)
    return f"{image_psnr_db(degraded, clean):.1f} dB: {describe(chain)}"


def _enlarged(image: ImageArray) -> Image.Image:
    height, width = image.shape[:2]
    return Image.fromarray(image).resize((width * _ZOOM, height * _ZOOM), Image.Resampling.NEAREST)
