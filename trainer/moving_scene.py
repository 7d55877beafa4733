"""Things that move before a background, hide it and change: what optical flow cannot follow.

Unlike in `call_scene`, whose sways are smooth and small, edges of things hide and uncover what is
behind them, things turn and come nearer, and parts of them change as eyes and mouths do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trainer.call_scene import framed, walk
from trainer.operators import ImageArray

__all__ = ["moving_scene"]

_Track = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.float32]
_Levels = npt.NDArray[np.float32]

_MOST_THINGS = 3
_SPEEDS_PX = (0.3, 12.0)  # a frame, drawn by their logarithm
_STILL_SHARE = 0.25  # of the backgrounds and things do not move
_TURN_DEGREES = 2.0  # a frame, at most
_GROWTH = 0.01  # a frame, at most
_EDGES_PX = (0.5, 3.0)  # standard deviation of a thing's soft edge
_CORNERS = 24
_CHANGING_SHARE = 0.7  # of the things have a part that changes
_LIGHT = 0.01  # by which the light changes from frame to frame, at most


@dataclass(frozen=True, slots=True)
class _Path:
    """Where something is at each frame: (T, 2) px down and across, (T,) degrees, (T,) scales."""

    places: _Track
    degrees: _Track
    scales: _Track

    def matrix(self, t: int, centre: tuple[float, float]) -> npt.NDArray[Any]:
        """(2, 3): from its own picture to the frame; the centre is (across, down)."""
        turned: npt.NDArray[Any] = cv2.getRotationMatrix2D(centre, self.degrees[t], self.scales[t])
        turned[:, 2] += self.places[t, ::-1]
        return turned


@dataclass(frozen=True, slots=True)
class _Change:
    """A part of a thing that is another one for some frames."""

    other: _Levels
    mask: _Mask
    shares: _Track

    def of(self, content: _Levels, t: int) -> _Levels:
        """The thing's picture at a frame."""
        share = np.float32(self.shares[t]) * self.mask[:, :, None]
        return content + share * (self.other - content)


@dataclass(frozen=True, slots=True)
class _Thing:
    """Its picture, its outline, where it goes, about which point it turns, what changes."""

    content: _Levels
    mask: _Mask
    path: _Path
    centre: tuple[float, float]
    change: _Change | None

    def at(self, t: int) -> _Levels:
        """Its picture at a frame."""
        return self.content if self.change is None else self.change.of(self.content, t)


def moving_scene(
    pictures: Sequence[ImageArray],
    rng: np.random.Generator,
    *,
    frames: int,
    size_px: tuple[int, int],
) -> ImageArray:
    """A clip (T, H, W, 3) uint8 RGB.

    Args:
        pictures: at least one, (H, W, 3) uint8 RGB of any size; background and things are parts of
            them, enlarged where they are too small.
        size_px: (height, width) of a frame.
    """
    height, width = size_px
    light = 1 + np.cumsum(rng.normal(0, rng.uniform(0, _LIGHT), frames))
    background = _filling(pictures, rng, size_px)
    behind = _path(rng, frames)
    clip = np.empty((frames, height, width, 3), np.uint8)
    middle = (width / 2, height / 2)
    things = [
        _thing(pictures, rng, frames, size_px) for _ in range(rng.integers(1, _MOST_THINGS + 1))
    ]
    for t in range(frames):
        shown = _placed(background, behind.matrix(t, middle), size_px).astype(np.float32)
        for thing in things:
            matrix = thing.path.matrix(t, thing.centre)
            cover = _placed(thing.mask, matrix, size_px, border=cv2.BORDER_CONSTANT)[:, :, None]
            shown += cover * (_placed(thing.at(t), matrix, size_px) - shown)
        clip[t] = np.clip(np.rint(shown * light[t]), 0, 255)
    return clip


def _placed(
    layer: npt.NDArray[Any],
    matrix: npt.NDArray[Any],
    size_px: tuple[int, int],
    *,
    border: int = cv2.BORDER_REFLECT_101,
) -> npt.NDArray[Any]:
    height, width = size_px
    placed: npt.NDArray[Any] = cv2.warpAffine(
        layer, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=border
    )
    return placed


def _path(rng: np.random.Generator, frames: int) -> _Path:
    if rng.random() < _STILL_SHARE:
        return _Path(np.zeros((frames, 2)), np.zeros(frames), np.ones(frames))
    slowest, fastest = map(math.log, _SPEEDS_PX)
    speed_px = math.exp(rng.uniform(slowest, fastest))
    share = speed_px / _SPEEDS_PX[1]
    turns = walk(rng, frames, _TURN_DEGREES * share * rng.random())[:, 0]
    growth = walk(rng, frames, _GROWTH * share * rng.random())[:, 0]
    return _Path(walk(rng, frames, speed_px), turns, np.exp(growth))


def _thing(
    pictures: Sequence[ImageArray], rng: np.random.Generator, frames: int, size_px: tuple[int, int]
) -> _Thing:
    height, width = size_px
    centre = (rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height)
    radius_px = rng.uniform(0.06, 0.5) * height
    content = _filling(pictures, rng, size_px).astype(np.float32)
    mask = _blob(rng, size_px, centre, radius_px)
    change = None
    if rng.random() < _CHANGING_SHARE:
        part = (centre[0] + rng.normal() * radius_px / 2, centre[1] + rng.normal() * radius_px / 2)
        begin, length = rng.uniform(-2, frames), rng.uniform(1, 6)
        times = np.arange(frames)
        shares = np.clip(np.minimum(times - begin, begin + length - times) / 1.5, 0, 1)
        other = (
            _filling(pictures, rng, size_px).astype(np.float32)
            if rng.random() < 0.5
            else np.roll(content, rng.integers(-9, 10, 2), axis=(0, 1))
        )
        change = _Change(
            other,
            _blob(rng, size_px, part, radius_px * rng.uniform(0.1, 0.5)),
            shares,
        )
    return _Thing(content, mask, _path(rng, frames), centre, change)


def _blob(
    rng: np.random.Generator,
    size_px: tuple[int, int],
    centre: tuple[float, float],
    radius_px: float,
) -> _Mask:
    """1 within a random outline, 0 outside, with a soft edge."""
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    radii = radius_px * (
        1 + 0.25 * cv2.GaussianBlur(rng.normal(size=(_CORNERS, 1)), (1, 5), 1)[:, 0]
    )
    corners = np.stack(
        (centre[0] + radii * np.cos(angles), centre[1] + 1.3 * radii * np.sin(angles)), axis=1
    )
    mask = np.zeros(size_px, np.float32)
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1.0)
    soft: npt.NDArray[Any] = cv2.GaussianBlur(mask, (0, 0), rng.uniform(*_EDGES_PX))
    return soft


def _filling(
    pictures: Sequence[ImageArray], rng: np.random.Generator, size_px: tuple[int, int]
) -> ImageArray:
    """A random part of a random picture that fills the frame, enlarged where it is too small."""
    picture = pictures[int(rng.integers(len(pictures)))]
    covering = max(size / side for size, side in zip(size_px, picture.shape[:2], strict=True))
    if covering > 1:
        height, width = (
            max(size, round(side * covering))
            for size, side in zip(size_px, picture.shape[:2], strict=True)
        )
        enlarged = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        picture = np.asarray(enlarged, np.uint8)
    return framed(picture, rng, size_px)
