"""What an HDR video says of the screen that it was made on, for encoders that want to be told.

Frames carry it as FFmpeg's AVMasteringDisplayMetadata and AVContentLightMetadata.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["HdrFacts", "hdr_options"]

# Red, green, blue and white point, each x and y, lowest and highest luminance: 10 fractions of two
# numbers, and whether colours and luminance are given.
_DISPLAY = struct.Struct("=20i2i")
_LIGHT = struct.Struct("=2I")
_X265_CHROMATICITY = 50_000
_X265_LUMINANCE = 10_000


@dataclass(frozen=True, slots=True)
class HdrFacts:
    """The screen's colours as (x, y) of red, green, blue and white; its luminance, lowest and
    highest, in cd/m2; and the content's brightest pixel and brightest frame, in cd/m2. Each None
    where it is not given."""

    colours: tuple[tuple[float, float], ...] | None
    luminance: tuple[float, float] | None
    brightest: tuple[int, int] | None

    @classmethod
    def of(cls, frame: VideoFrame) -> HdrFacts:
        """As the frame says."""
        data: Any = frame.side_data
        colours = luminance = brightest = None
        display = data.get("MASTERING_DISPLAY_METADATA")
        if display is not None and len(bytes(display)) >= _DISPLAY.size:
            numbers = _DISPLAY.unpack_from(bytes(display))
            values = [
                over / under if under else 0.0
                for over, under in zip(numbers[0:20:2], numbers[1:20:2], strict=True)
            ]
            has_colours, has_luminance = numbers[20:]
            if has_colours:
                colours = tuple(zip(values[0:8:2], values[1:8:2], strict=True))
            if has_luminance:
                luminance = values[8], values[9]
        light = data.get("CONTENT_LIGHT_LEVEL")
        if light is not None and len(bytes(light)) >= _LIGHT.size:
            brightest = _LIGHT.unpack_from(bytes(light))
        return cls(colours, luminance, brightest)


def hdr_options(encoder: str, facts: HdrFacts) -> dict[str, str]:
    """Options of libx265 and libsvtav1 that say the same; {} for other encoders."""
    if encoder == "libx265":
        return _joined("x265-params", _in_steps(facts), "max-cll", facts)
    if encoder == "libsvtav1":
        return _joined("svtav1-params", _in_units(facts), "content-light", facts)
    return {}


def _joined(option: str, display: str | None, light: str, facts: HdrFacts) -> dict[str, str]:
    parts = [display] if display else []
    if facts.brightest:
        parts.append(f"{light}={facts.brightest[0]},{facts.brightest[1]}")
    return {option: ":".join(parts)} if parts else {}


def _in_steps(facts: HdrFacts) -> str | None:
    """As x265 takes it: in whole steps of H.265's message."""
    if not facts.colours or not facts.luminance:
        return None
    red, green, blue, white = (
        f"({x * _X265_CHROMATICITY:.0f},{y * _X265_CHROMATICITY:.0f})" for x, y in facts.colours
    )
    low, high = (f"{value * _X265_LUMINANCE:.0f}" for value in facts.luminance)
    return f"master-display=G{green}B{blue}R{red}WP{white}L({high},{low})"


def _in_units(facts: HdrFacts) -> str | None:
    """As SVT-AV1 takes it."""
    if not facts.colours or not facts.luminance:
        return None
    red, green, blue, white = (f"({x:.5f},{y:.5f})" for x, y in facts.colours)
    low, high = facts.luminance
    return f"mastering-display=G{green}B{blue}R{red}WP{white}L({high:.4f},{low:.4f})"
