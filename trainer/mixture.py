"""The random choice of degradations: each kind's range of strengths, and how often it is drawn.

Draws chains of `steps`; carries nothing out. All choices come from the generator passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from trainer.named_numbers import named_numbers, require_known
from trainer.operators import ImageArray, Resampler
from trainer.steps import (
    Chain,
    Defocus,
    Gaussian,
    Halo,
    Jpeg,
    Motion,
    Noise,
    Rescale,
    Step,
    Video,
    WebP,
    carry_out,
)
from trainer.video_codec import Codec

__all__ = [
    "CHAINS",
    "DEFAULT_MIXTURE",
    "KINDS",
    "Mixture",
    "draw_chain",
    "is_from_pairs",
    "sample_chain",
    "softening_chain",
]

# How often each is drawn for mere rescaling. One tool often does both.
_SHRINKERS: dict[Resampler, float] = {
    "bicubic": 0.44,
    "bicubic-antialiased": 0.27,
    "area": 0.08,
    "bilinear": 0.05,
    "bilinear-antialiased": 0.05,
    "lanczos-antialiased": 0.05,
    "lanczos": 0.03,
    "hamming-antialiased": 0.015,
    "nearest": 0.015,
}
_ENLARGERS: dict[Resampler, float] = {
    "bicubic": 0.35,
    "bicubic-antialiased": 0.35,
    "bilinear": 0.18,
    "lanczos-antialiased": 0.05,
    "lanczos": 0.04,
    "hamming-antialiased": 0.015,
    "nearest": 0.015,
}
_ONE_TOOL_SHARE = 0.6
# Of calls' pictures, and of photographs that were sent: each as often.
_CALL_SHRINKERS: tuple[Resampler, ...] = ("bicubic", "bilinear", "area")
_CALL_ENLARGERS: tuple[Resampler, ...] = ("bicubic", "bicubic-antialiased", "bilinear")
_ANTIALIASED: tuple[Resampler, ...] = (
    "bicubic-antialiased",
    "bilinear-antialiased",
    "lanczos-antialiased",
)
_PHOTO_SHRINKERS = _CALL_SHRINKERS + _ANTIALIASED
_PHOTO_ENLARGERS: tuple[Resampler, ...] = (*_CALL_ENLARGERS, "lanczos-antialiased")
_Name = TypeVar("_Name", bound=str)
_BLURS = (Gaussian, Defocus, Motion)
# From hardly visible to what a bad connection shows; the scales differ.
_CRF_RANGES: dict[Codec, tuple[int, int]] = {"h264": (20, 40), "vp9": (25, 55), "av1": (30, 58)}


def _rescale(rng: np.random.Generator) -> Chain:
    """Whole factors with one filter are what products and the literature use: drawn most often.

    Few are sharpened afterwards, as televisions and players do.
    """
    shrink, enlarge = _drawn(rng, _SHRINKERS), _drawn(rng, _ENLARGERS)
    if shrink in _ENLARGERS and rng.random() < _ONE_TOOL_SHARE:
        enlarge = shrink
    choice = rng.random()
    if choice < 0.78:
        factor = rng.choice((1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 3.0, 4.0, 4.0, 4.0))
    else:
        factor = rng.uniform(1.2, 4.0) if choice < 0.94 else rng.uniform(4.0, 8.0)
    step = Rescale(float(factor), shrink, enlarge)
    return (step, *_halo(rng)) if rng.random() < 0.04 else (step,)


def _drawn(rng: np.random.Generator, shares: Mapping[_Name, float]) -> _Name:
    """One of the names, by its share of their sum."""
    weights = np.fromiter(shares.values(), float)
    return list(shares)[rng.choice(len(weights), p=weights / weights.sum())]


def _one_of(rng: np.random.Generator, resamplers: tuple[Resampler, ...]) -> Resampler:
    return resamplers[rng.integers(len(resamplers))]


def _gaussian(rng: np.random.Generator) -> Chain:
    return (Gaussian(_mostly(rng, 0.4, 2.6, at_most=4.5)),)


def _defocus(rng: np.random.Generator) -> Chain:
    return (Defocus(_mostly(rng, 0.7, 4.0, at_most=6.0)),)


def _motion(rng: np.random.Generator) -> Chain:
    """Half of them straight, half slightly bent."""
    length_px, angle_deg = _mostly(rng, 2, 12, at_most=18), float(rng.uniform(0, 180))
    bend_deg = float(rng.uniform(-90, 90)) if rng.random() < 0.5 else 0.0
    return (Motion(length_px, angle_deg, bend_deg),)


def _mostly(rng: np.random.Generator, low: float, high: float, *, at_most: float) -> float:
    """Between `low` and `high`; beyond, up to `at_most`, in an eighth of the cases.

    Little can be undone there, and a student that has never seen it does harm.
    """
    return float(rng.uniform(high, at_most) if rng.random() < 0.125 else rng.uniform(low, high))


def _noise(rng: np.random.Generator) -> Chain:
    return (_drawn_noise(rng),)


def _drawn_noise(rng: np.random.Generator) -> Noise:
    return Noise(float(rng.uniform(0.5, 6)), float(rng.uniform(0, 8)), _seed(rng))


def _jpeg(rng: np.random.Generator) -> Chain:
    return (_drawn_jpeg(rng),)


def _drawn_jpeg(rng: np.random.Generator) -> Jpeg:
    return Jpeg(int(rng.integers(15, 96)), is_subsampled=bool(rng.random() < 0.8))


def _webp(rng: np.random.Generator) -> Chain:
    """A picture from the web: as often as not it was blurred, or is shown larger than it is."""
    steps: list[Step] = []
    if rng.random() < 0.5:
        steps.append(_drawn_blur(rng, strongest=1.6))
    if rng.random() < 0.4:
        steps.append(_drawn_rescale(rng, largest=2.5, is_compressed=False))
    return (*steps, WebP(int(rng.integers(20, 96))))


def _halo(rng: np.random.Generator) -> Chain:
    return (Halo(float(rng.uniform(0.6, 2.0)), float(rng.uniform(0.2, 1.2))),)


def _codec(rng: np.random.Generator) -> Chain:
    """All codecs alike; in half of the cases the sender shrinks, the receiver enlarges."""
    codec = list(_CRF_RANGES)[rng.integers(len(_CRF_RANGES))]
    low, high = _CRF_RANGES[codec]
    video = Video(codec, int(rng.integers(low, high + 1)), _seed(rng))
    if rng.random() < 0.5:
        return (video,)
    return (Rescale(float(rng.uniform(1.2, 2.0)), "area", "bilinear", video),)


def _camera(rng: np.random.Generator) -> Chain:
    """Several at once, in the order of a lens, a sensor and a JPEG.

    The compression comes before or after the enlargement.
    """
    steps: list[Step] = []
    if rng.random() < 0.75:
        steps.append(_drawn_blur(rng, strongest=2.0))
    if rng.random() < 0.6:
        steps.append(_drawn_noise(rng))
    if rng.random() < 0.2:  # the processor's sharpening amplifies the sensor's noise
        steps += _halo(rng)
    is_small_compressed = bool(rng.random() < 0.5)
    if rng.random() < 0.6:
        steps.append(_drawn_rescale(rng, largest=3.0, is_compressed=is_small_compressed))
        if is_small_compressed:
            return tuple(steps)
    if rng.random() < 0.75 or not steps:
        steps.append(_drawn_jpeg(rng))
    return tuple(steps)


def _webcam(rng: np.random.Generator) -> Chain:
    """The whole way of a cheap webcam's picture through a call: lens, sensor, resizing, JPEG."""
    return (
        Gaussian(float(rng.uniform(0.6, 1.6))),
        Noise(float(rng.uniform(1, 6)), float(rng.uniform(0, 4)), _seed(rng)),
        Rescale(
            float(rng.uniform(1.2, 2.0)),
            _one_of(rng, _CALL_SHRINKERS),
            _one_of(rng, _CALL_ENLARGERS),
        ),
        Jpeg(int(rng.integers(35, 76)), is_subsampled=bool(rng.random() < 0.9)),
    )


def _two_rounds(rng: np.random.Generator) -> Chain:
    """A picture that was sent on: two rounds of blur, rescaling, noise and JPEG.

    Each round in an order of its own. The second-order model of Real-ESRGAN (Wang et al. 2021,
    arXiv 2107.10833), with BSRGAN's shuffled order (Zhang et al. 2021, arXiv 2103.14006) and
    gentler strengths: two rounds of theirs leave less than a call does.
    """
    steps: list[Step] = []
    for chance, strongest in ((0.7, 1.5), (0.5, 1.0)):
        turn: list[Step] = [
            _drawn_blur(rng, strongest=strongest),
            _drawn_rescale(rng, largest=1 + strongest, is_compressed=bool(rng.random() < 0.3)),
            Noise(float(rng.uniform(0.5, 4)), float(rng.uniform(0, 5)), _seed(rng)),
            Jpeg(int(rng.integers(40, 96)), is_subsampled=bool(rng.random() < 0.8)),
        ]
        steps += [turn[index] for index in rng.permutation(4) if rng.random() < chance]
    return tuple(steps) or _camera(rng)


def _drawn_blur(rng: np.random.Generator, *, strongest: float) -> Step:
    """Mostly Gaussian; in a tenth of the cases each, defocus or motion of about the same width."""
    choice = rng.random()
    if choice < 0.1:
        return Defocus(float(rng.uniform(0.8, 2 * strongest)))
    if choice < 0.2:
        return Motion(float(rng.uniform(1.5, 4 * strongest)), float(rng.uniform(0, 180)), 0.0)
    return Gaussian(float(rng.uniform(0.4, strongest)))


def _drawn_rescale(rng: np.random.Generator, *, largest: float, is_compressed: bool) -> Rescale:
    return Rescale(
        float(rng.uniform(1.2, largest)),
        _one_of(rng, _PHOTO_SHRINKERS),
        _one_of(rng, _PHOTO_ENLARGERS),
        _drawn_jpeg(rng) if is_compressed else None,
    )


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


CHAINS: dict[str, Callable[[np.random.Generator], Chain]] = {
    "rescale": _rescale,
    "gaussian": _gaussian,
    "defocus": _defocus,
    "motion": _motion,
    "noise": _noise,
    "jpeg": _jpeg,
    "webp": _webp,
    "halo": _halo,
    "codec": _codec,
    "camera": _camera,
    "webcam": _webcam,
    "two-rounds": _two_rounds,
    "clean": lambda _: (),
}
"""From the name of a kind to the function that draws a chain of it."""


Kind = Callable[[ImageArray, np.random.Generator], ImageArray]


def _kind(draw: Callable[[np.random.Generator], Chain]) -> Kind:
    return lambda image, rng: carry_out(draw(rng), image)


KINDS: dict[str, Kind] = {name: _kind(draw) for name, draw in CHAINS.items()}
"""From the name of a kind to the function that degrades an image by it with random strength."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """How often each kind is drawn.

    Attributes:
        shares: from names of `KINDS` to relative frequencies; kinds left out are never drawn.

    Raises:
        ValueError: an unknown kind, a share below 0 or not finite, or no share above 0.
    """

    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        require_known(self.shares, CHAINS, kind="degradation", number="share")
        if not sum(self.shares.values()) > 0:
            raise ValueError("at least one kind of degradation must have a share above 0")

    @classmethod
    def parse(cls, text: str) -> Mixture:
        """Reads "rescale=0.5, codec=0.2", as a settings file holds it; "" is the default.

        Raises:
            ValueError: not such a list, or see above.
        """
        shares = named_numbers(text, form="kind=share", example="rescale=0.5, codec=0.2")
        return cls(shares) if shares else DEFAULT_MIXTURE

    def draw(self, rng: np.random.Generator) -> Chain:
        """A kind by its share, and its strengths."""
        return CHAINS[_drawn(rng, self.shares)](rng)


# `codec` is left out: it costs 9 ms of CPU for a crop of 128 px and 24 ms for 256 px, 20 times as
# much as the others' mean (0.4 and 1.4 ms), and teaches less than `call_frames`, whose clips move.
DEFAULT_MIXTURE = Mixture(
    {
        "rescale": 0.41,
        "gaussian": 0.07,
        "defocus": 0.04,
        "motion": 0.04,
        "jpeg": 0.04,
        "webp": 0.04,
        "noise": 0.03,
        "halo": 0.02,
        "camera": 0.10,
        "webcam": 0.18,
        "two-rounds": 0.03,
        "codec": 0.0,
    }
)


def draw_chain(
    rng: np.random.Generator, *, clean_share: float, mixture: Mixture = DEFAULT_MIXTURE
) -> Chain:
    """An empty chain in a `clean_share` of the calls, else one of the mixture's."""
    return () if rng.random() < clean_share else mixture.draw(rng)


def sample_chain(
    seed: int, number: int, *, clean_share: float, mixture: Mixture = DEFAULT_MIXTURE
) -> Chain:
    """The chain of training sample `number`: the same on every device and in every batch."""
    # The third word keeps this sequence apart from the one that the sample's crop is drawn from.
    rng = np.random.default_rng((seed, number, 1))
    return draw_chain(rng, clean_share=clean_share, mixture=mixture)


def softening_chain(seed: int, number: int, chain: Chain, *, share: float) -> Chain:
    """What makes the clean picture of training sample `number` soft, in a `share` of them.

    Film, webcams and enlarged pictures are soft to begin with. A student that has seen crisp
    originals alone takes them for blurred ones, and makes them worse. Half of the soft ones get the
    grain of a sensor behind the lens.

    Args:
        chain: what is done to the sample afterwards. Nothing is made soft before mere blur, nor
            before what does not blur, such as JPEG or noise: a crisp picture blurred as much and
            treated alike looks the same, and what could be learned is to leave blur alone.
    """
    rng = np.random.default_rng((seed, number, 3))
    if not (rng.random() < share and _is_told_from_blur(chain)):
        return ()
    lens: Step
    kind = rng.integers(3)
    if kind == 0:
        lens = Gaussian(float(rng.uniform(0.5, 1.6)))
    elif kind == 1:
        lens = Defocus(float(rng.uniform(0.8, 2.4)))
    else:
        factor = float(rng.uniform(1.3, 2.8))
        lens = Rescale(factor, _one_of(rng, _ANTIALIASED), _one_of(rng, _PHOTO_ENLARGERS))
    if rng.random() < 0.5:
        return (lens,)
    return (lens, Noise(float(rng.uniform(0.3, 2.5)), float(rng.uniform(0, 2)), _seed(rng)))


def _is_told_from_blur(chain: Chain) -> bool:
    """Whether a soft picture after `chain` looks otherwise than a crisp one that was blurred."""
    match chain:
        case (Rescale(between=None),):
            return True
    return 0 < sum(isinstance(step, _BLURS) for step in chain) < len(chain)


def is_from_pairs(seed: int, number: int, *, share: float) -> bool:
    """Whether training sample `number` is taken from the pairs, which get `share` of them."""
    return share > 0 and bool(np.random.default_rng((seed, number, 2)).random() < share)
