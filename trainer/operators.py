"""What cameras and low bandwidth do to a picture, one operator each, of explicit strength.

Pure: images in, images out, no files, no choices. Everything works on an `image`, (H, W, 3) uint8
RGB, and keeps its size. Where noise is random it comes from the generator that is passed in.
`device_degradation` has the same operators for batches on a device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = [
    "FloatArray",
    "ImageArray",
    "Resampler",
    "add_halo",
    "add_sensor_noise",
    "blur_defocus",
    "blur_gaussian",
    "blur_motion",
    "compress_jpeg",
    "compress_webp",
    "defocus_kernel",
    "motion_kernel",
    "rescale",
]

ImageArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Resampler = Literal[
    "bicubic",
    "bilinear",
    "area",
    "lanczos",
    "nearest",
    "bicubic-antialiased",
    "bilinear-antialiased",
    "lanczos-antialiased",
    "hamming-antialiased",
]

_OPENCV_FILTERS = {
    "bicubic": cv2.INTER_CUBIC,
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
    "nearest": cv2.INTER_NEAREST,
}
_PILLOW_FILTERS = {
    "bicubic-antialiased": Image.Resampling.BICUBIC,
    "bilinear-antialiased": Image.Resampling.BILINEAR,
    "lanczos-antialiased": Image.Resampling.LANCZOS,
    "hamming-antialiased": Image.Resampling.HAMMING,
}
_SAMPLES_PER_PX = 16  # of disc and path; the kernels' weights are then right to about 1 %


def blur_gaussian(image: ImageArray, *, sigma_px: float) -> ImageArray:
    """Gaussian blur of standard deviation `sigma_px`, borders reflected."""
    return _uint8(cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma_px))


def blur_defocus(image: ImageArray, *, radius_px: float) -> ImageArray:
    """An out-of-focus lens: the circle of confusion of `radius_px`, borders reflected."""
    return _filtered(image, defocus_kernel(radius_px))


def blur_motion(
    image: ImageArray, *, length_px: float, angle_deg: float, bend_deg: float = 0.0
) -> ImageArray:
    """A camera or subject that moves while the shutter is open, borders reflected.

    Args:
        length_px: of the path.
        angle_deg: of its middle, counter-clockwise from the right.
        bend_deg: how far the direction turns from one end to the other; 0 is a straight line.
    """
    return _filtered(image, motion_kernel(length_px, angle_deg, bend_deg))


def defocus_kernel(radius_px: float) -> FloatArray:
    """A disc (k, k) of sum 1, k odd: each weight is the share of its pixel that the disc covers.

    The geometric model of defocus (Pentland 1987); covering shares instead of whole pixels, since
    a disc of whole pixels would have only a few distinct radii.
    """
    half = max(0, int(np.ceil(radius_px - 0.5)))
    offsets = (np.arange(_SAMPLES_PER_PX) + 0.5) / _SAMPLES_PER_PX - 0.5
    points = (np.arange(-half, half + 1)[:, None] + offsets).reshape(-1)
    is_inside = points[:, None] ** 2 + points[None, :] ** 2 <= radius_px**2
    size = 2 * half + 1
    covered = is_inside.reshape(size, _SAMPLES_PER_PX, size, _SAMPLES_PER_PX).mean(axis=(1, 3))
    kernel: FloatArray = (covered / covered.sum()).astype(np.float32)
    return kernel


def motion_kernel(length_px: float, angle_deg: float, bend_deg: float = 0.0) -> FloatArray:
    """The trace (k, k) of sum 1, k odd, of a point that moves evenly along an arc.

    Its centroid is the centre, so that the blurred picture does not move against the clean one. A
    trajectory instead of a straight line is what hand-held cameras leave (Boracchi and Foi 2012);
    over the short shutter times of video an arc describes it.
    """
    count = max(2, int(np.ceil(length_px * _SAMPLES_PER_PX)))
    progress = (np.arange(count) + 0.5) / count - 0.5
    heading = np.deg2rad(angle_deg + bend_deg * progress)
    step_px = length_px / count
    # Rows grow downwards, angles counter-clockwise.
    path = np.stack((-np.sin(heading), np.cos(heading))).cumsum(axis=1) * step_px
    path -= path.mean(axis=1, keepdims=True)
    half = int(np.floor(np.abs(path).max())) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    whole = np.floor(path).astype(int)
    part = path - whole
    # Each point is spread over its four pixels bilinearly, which keeps the centroid.
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - part[0]) * np.abs(1 - right - part[1])
            np.add.at(kernel, (whole[0] + half + down, whole[1] + half + right), weight)
    return (kernel / count).astype(np.float32)


def add_halo(image: ImageArray, *, radius_px: float, amount: float) -> ImageArray:
    """Over-sharpening by a camera: image + amount * (image - its Gaussian blur).

    The unsharp mask that image processors apply; bright and dark seams appear along edges.

    Args:
        radius_px: standard deviation of the Gaussian.
        amount: how many times the difference is added.
    """
    signal = image.astype(np.float32)
    return _uint8(signal + amount * (signal - cv2.GaussianBlur(signal, (0, 0), radius_px)))


def add_sensor_noise(
    image: ImageArray, rng: np.random.Generator, *, read: float, shot: float = 0.0
) -> ImageArray:
    """Noise of a small sensor, independent per pixel and channel.

    Args:
        read: standard deviation of the signal-independent part, in levels of 255.
        shot: standard deviation of the signal-dependent part at white, in levels of 255; it grows
            with the root of the signal (Foi et al. 2008, the Gaussian approximation of Poisson
            noise).
    """
    signal = image.astype(np.float32)
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    if shot > 0:
        noise *= np.sqrt(read**2 + shot**2 * signal / 255)
    else:
        noise *= read
    return _uint8(signal + noise)


def compress_jpeg(image: ImageArray, *, quality: int, is_subsampled: bool = True) -> ImageArray:
    """One round trip through JPEG at `quality` (1 to 100).

    Colour at half resolution if subsampled.
    """
    sampling = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
        if is_subsampled
        else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    )
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return _through_file(image, ".jpg", settings)


def compress_webp(image: ImageArray, *, quality: int) -> ImageArray:
    """One round trip through lossy WebP at `quality` (1 to 100); colour at half resolution."""
    return _through_file(image, ".webp", [cv2.IMWRITE_WEBP_QUALITY, quality])


def _through_file(image: ImageArray, suffix: str, settings: Sequence[int]) -> ImageArray:
    _, encoded = cv2.imencode(suffix, image[:, :, ::-1], settings)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV reads the file that it wrote"
    return _image(decoded[:, :, ::-1])


def rescale(
    image: ImageArray,
    *,
    factor: float,
    shrink: Resampler = "bicubic",
    enlarge: Resampler = "bicubic",
    between: Callable[[ImageArray], ImageArray] | None = None,
) -> ImageArray:
    """Down by `factor` and back up to the same size.

    The antialiased resamplers are Pillow's, the others OpenCV's: all of these but `area` alias when
    they shrink. `between` is applied to the small picture.
    """
    height, width = image.shape[:2]
    small_size = (max(1, round(height / factor)), max(1, round(width / factor)))
    small = _resize(image, small_size, shrink)
    if between is not None:
        small = between(small)
    return _resize(small, (height, width), enlarge)


def _resize(image: ImageArray, size: tuple[int, int], resampler: Resampler) -> ImageArray:
    height, width = size
    if resampler in _PILLOW_FILTERS:
        resized = Image.fromarray(image).resize((width, height), _PILLOW_FILTERS[resampler])
        return np.array(resized)
    return _image(cv2.resize(image, (width, height), interpolation=_OPENCV_FILTERS[resampler]))


def _filtered(image: ImageArray, kernel: FloatArray) -> ImageArray:
    # cv2.filter2D correlates; a convolution, as light does it, takes the kernel turned round.
    return _uint8(cv2.filter2D(image.astype(np.float32), -1, kernel[::-1, ::-1]))


def _uint8(values: npt.NDArray[Any]) -> ImageArray:
    return _image(np.clip(np.rint(values), 0, 255))


def _image(values: npt.NDArray[Any]) -> ImageArray:
    return np.ascontiguousarray(values, dtype=np.uint8)
