"""The Sharpener: any size in, the same size out, the same picture whatever the tiling."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageDraw

from service.errors import BackendUnavailable, CheckpointNotFound
from service.model import sharpener as module
from service.model.backends import Precision, create_backend
from service.model.checkpoint import Checkpoint, Facts, save_checkpoint
from service.model.estimator import DESCRIPTION_LENGTH, sample_image
from service.model.sharpener import (
    BUNDLED_SIZES,
    Description,
    Sharpener,
    bundled_checkpoint,
    find_checkpoint,
)
from service.model.student import Colour, StudentConfig, build_student
from tests.service.pictures import sample
from trainer.quality import image_psnr_db


class Recorder:
    """A backend that keeps what it was given and returns it, one level brighter."""

    name, device, precision, lanes, max_batch = "recorder", "cpu", "fp32", 1, 1

    def __init__(self) -> None:
        self.images: list[npt.NDArray[np.uint8]] = []
        self.strengths: list[float] = []
        self.descriptions: list[Description] = []
        self.squares: list[npt.NDArray[np.uint8]] = []
        self.lanes_asked: list[int | None] = []

    def describe(self, images: npt.NDArray[np.uint8], *, lane: int | None = None) -> Description:
        self.squares.append(images)
        self.lanes_asked.append(lane)
        return np.full((1, DESCRIPTION_LENGTH), images.mean(), np.float32)

    def run(
        self,
        images: npt.NDArray[np.uint8],
        strength: float,
        description: Description,
        *,
        lane: int | None = None,
    ) -> npt.NDArray[np.uint8]:
        self.images.append(images)
        self.strengths.append(strength)
        self.descriptions.append(description)
        self.lanes_asked.append(lane)
        return np.minimum(images, 254) + np.uint8(1)


def checkpoint(unshuffle: int = 4) -> Checkpoint:
    config = StudentConfig(channels=8, unshuffle=unshuffle, blocks=1)
    facts = Facts(
        config=config.to_json(),
        name="tiny",
        size_multiple=unshuffle,
        normalisation="instance",
        default_strength=0.25,
        training_steps=1,
    )
    return Checkpoint(network=build_student(config).eval(), facts=facts, model_id="tiny-0")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def sharpener(recorder: Recorder) -> Sharpener:
    return Sharpener(checkpoint(), recorder)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3), (4, 4), (37, 101)])
def test_every_size_comes_back_at_its_size(sharpener: Sharpener, size: tuple[int, int]) -> None:
    image = sample("museum")[: size[0], : size[1]]
    assert np.array_equal(sharpener.sharpen(image), np.minimum(image, 254) + 1)


def test_the_network_gets_multiples_of_its_size_padded_by_reflection(
    sharpener: Sharpener, recorder: Recorder
) -> None:
    image = sample("museum")[:37, :101]
    sharpener.sharpen(image)
    (given,) = recorder.images
    assert given.shape == (1, 40, 104, 3)
    assert np.array_equal(given[0, 37:], given[0, 35:32:-1])


def test_pictures_too_small_to_reflect_are_replicated(
    sharpener: Sharpener, recorder: Recorder
) -> None:
    image = sample("museum")[:1, :2]
    sharpener.sharpen(image)
    (given,) = recorder.images
    assert given.shape == (1, 4, 4, 3)
    assert (given[0, :, 1:] == image[0, 1]).all()


def test_the_input_is_not_changed_and_need_not_be_contiguous(sharpener: Sharpener) -> None:
    image = sample("museum")[:32:2, ::-3][:, :20]
    before = image.copy()
    assert np.array_equal(sharpener.sharpen(image), np.minimum(before, 254) + 1)
    assert np.array_equal(image, before)


def test_the_default_strength_is_the_checkpoints(sharpener: Sharpener, recorder: Recorder) -> None:
    image = sample("museum")[:8, :8]
    sharpener.sharpen(image)
    sharpener.sharpen(image, strength=1)
    sharpener.sharpen(image, strength=2)
    assert recorder.strengths == [0.25, 1, 2]


def test_a_strength_of_zero_is_the_very_image_and_runs_nothing(
    sharpener: Sharpener, recorder: Recorder
) -> None:
    image = sample("museum")[:9, :8]
    unchanged = sharpener.sharpen(image, strength=0)
    assert np.array_equal(unchanged, image)
    assert not np.shares_memory(unchanged, image)
    assert (recorder.images, recorder.squares) == ([], [])


def test_a_picture_goes_by_its_own_description_unless_another_is_given(
    sharpener: Sharpener, recorder: Recorder
) -> None:
    image, before = sample("museum")[:300, :200], sample("colosseum")[:100, :100]
    description = sharpener.describe(before)
    sharpener.sharpen(image)
    sharpener.sharpen(image, description=description)
    of_before, of_image = recorder.squares
    assert of_before.shape == (1, 64, 64, 3)
    assert np.array_equal(of_image[0], sample_image(image))
    own, given = recorder.descriptions
    assert np.array_equal(own, sharpener.describe(image))
    assert given is description


def test_a_picture_is_described_and_sharpened_in_the_lane_that_is_asked_for(
    sharpener: Sharpener, recorder: Recorder
) -> None:
    sharpener.sharpen(sample("museum")[:8, :8], lane=0)
    sharpener.sharpen(sample("museum")[:8, :8])
    assert recorder.lanes_asked == [0, 0, None, None]


def test_it_says_what_it_runs_on(sharpener: Sharpener) -> None:
    told = (sharpener.backend, sharpener.device, sharpener.precision, sharpener.lanes)
    assert told == ("recorder", "cpu", "fp32", 1)


def test_warming_up_runs_the_usual_strengths_and_the_stronger_ones(
    sharpener: Sharpener, recorder: Recorder
) -> None:
    sharpener.warm_up()
    assert set(recorder.strengths) == {1, 2}
    assert set(recorder.lanes_asked) == {None, 0}


def test_frame_sizes_are_measured_as_far_as_they_are_fit_for_video(
    monkeypatch: pytest.MonkeyPatch, sharpener: Sharpener
) -> None:
    all_of_them = sharpener.measure()
    assert [(size.height, size.width) for size in all_of_them] == [
        (360, 640),
        (720, 1280),
        (1080, 1920),
    ]
    for size in all_of_them:
        assert size.ms > 0
        assert size.px_per_s == pytest.approx(size.height * size.width / size.ms * 1000)
    monkeypatch.setattr(module, "_NO_VIDEO_MS", 0)
    assert len(sharpener.measure()) == 1


def test_large_pictures_go_through_in_tiles_that_cover_all_of_them(
    monkeypatch: pytest.MonkeyPatch, sharpener: Sharpener, recorder: Recorder
) -> None:
    monkeypatch.setattr(module, "_TILE_PX", 64)
    monkeypatch.setattr(module, "_WHOLE_PX", 0)
    image = sample("colosseum")[:333, :517]
    assert np.array_equal(sharpener.sharpen(image), np.minimum(image, 254) + 1)
    largest = 72 + 2 * sharpener.context_px
    assert len(recorder.images) > 40
    assert max(max(given.shape[1:3]) for given in recorder.images) <= largest
    assert len(recorder.squares) == 1
    assert all(given is recorder.descriptions[0] for given in recorder.descriptions)


def test_a_large_picture_can_be_gone_through_piece_by_piece_in_changing_lanes(
    monkeypatch: pytest.MonkeyPatch, sharpener: Sharpener, recorder: Recorder
) -> None:
    monkeypatch.setattr(module, "_TILE_PX", 200)
    monkeypatch.setattr(module, "_WHOLE_PX", 0)
    image = sample("colosseum")[:333, :517]
    pieces = sharpener.pieces(image, strength=1)
    next(pieces)
    assert recorder.lanes_asked == []
    lanes: list[int | None] = [0, None, 0, 0, None, 0]
    for count, lane in enumerate(lanes[:-1], start=1):
        pieces.send(lane)
        assert len(recorder.images) == count
    with pytest.raises(StopIteration) as done:
        pieces.send(lanes[-1])
    assert recorder.lanes_asked == [lanes[0], *lanes]  # the description, then the tiles
    assert np.array_equal(done.value.value, sharpener.sharpen(image))


def test_pieces_can_be_asked_to_be_small_and_small_pictures_are_one(
    sharpener: Sharpener, recorder: Recorder
) -> None:
    image = sample("colosseum")[:333, :517]
    for part, tile_px, count in (
        (image, 128, 3 * 5),
        (image, None, 1),
        (image[:140, :140], 128, 1),
    ):
        recorder.images.clear()
        pieces = sharpener.pieces(part, strength=1, tile_px=tile_px)
        next(pieces)
        for _ in range(count - 1):
            pieces.send(None)
        with pytest.raises(StopIteration) as done:
            pieces.send(None)
        assert len(recorder.images) == count
        assert np.array_equal(done.value.value, np.minimum(part, 254) + 1)


def test_pictures_of_one_padded_size_go_through_together_with_their_own_descriptions(
    sharpener: Sharpener, recorder: Recorder
) -> None:
    sharpener.max_batch = 4
    images = [sample("museum")[:37, :101], sample("colosseum")[:39, :104]]
    keys = {sharpener.batch_key(image) for image in images}
    assert len(keys) == 1
    assert sharpener.batch_key(images[0][:36]) not in keys
    assert sharpener.batch_key(np.zeros((4000, 4000, 3), np.uint8)) is None
    described = [sharpener.describe(image) for image in images]
    together = sharpener.sharpen_batch(images, strength=1, descriptions=described)
    for image, sharpened in zip(images, together, strict=True):
        assert np.array_equal(sharpened, np.minimum(image, 254) + 1)
    (given,) = recorder.images
    assert given.shape == (2, 40, 104, 3)
    assert np.array_equal(recorder.descriptions[0], np.concatenate(described))
    unchanged = sharpener.sharpen_batch(images, strength=0, descriptions=described)
    assert all(np.array_equal(*pair) for pair in zip(unchanged, images, strict=True))


def test_a_picture_has_no_companions_where_batches_are_no_faster(sharpener: Sharpener) -> None:
    assert sharpener.batch_key(sample("museum")) is None


@pytest.mark.parametrize(
    ("backend", "unshuffle", "strength", "colour"),
    [
        ("torch", 1, 1.0, "rgb"),
        ("torch", 2, 2.0, "rgb"),
        ("torch", 3, 0.5, "luma"),
        ("torch", 4, 2.0, "luma"),
        ("openvino", 2, 1.0, "luma"),
        ("openvino", 3, 2.0, "rgb"),
    ],
)
def test_tiles_and_whole_picture_agree_within_one_level(
    monkeypatch: pytest.MonkeyPatch, unshuffle: int, backend: str, strength: float, colour: Colour
) -> None:
    torch.manual_seed(0)
    config = StudentConfig(8, unshuffle, blocks=2, experts=3, colour=colour, normalisation="frozen")
    network = build_student(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        network.channel_attention.excite.weight.mul_(20)  # much depends on the description
    facts = Facts(
        config=config.to_json(),
        name="tiny",
        size_multiple=unshuffle,
        normalisation="frozen",
        default_strength=1.0,
        training_steps=1,
    )
    sharpener = Sharpener(
        Checkpoint(network=network, facts=facts, model_id="tiny-0"),
        create_backend(network, device="cpu", backend=backend, precision="fp32"),
    )
    image = sample("colosseum")[:241, :399]
    whole = sharpener.sharpen(image, strength=strength)
    monkeypatch.setattr(module, "_TILE_PX", 96)
    monkeypatch.setattr(module, "_WHOLE_PX", 0)
    tiled = sharpener.sharpen(image, strength=strength)
    assert np.abs(whole.astype(int) - image).max() > 8
    assert np.abs(whole.astype(int) - tiled).max() <= 1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_what_is_no_image_is_refused(sharpener: Sharpener, image: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="an image is"):
        sharpener.sharpen(image)


@pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan")])
def test_a_strength_out_of_range_is_refused(sharpener: Sharpener, strength: float) -> None:
    with pytest.raises(ValueError, match="strength must be 0 to 2"):
        sharpener.sharpen(sample("museum")[:8, :8], strength=strength)


def test_a_missing_checkpoint_is_not_replaced_by_the_bundled_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound):
        Sharpener.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("size", BUNDLED_SIZES)
def test_a_size_names_a_bundled_student_and_all_else_a_file(size: str) -> None:
    assert find_checkpoint(size) == find_checkpoint(Path(size)) == bundled_checkpoint(size)
    assert find_checkpoint(f"./{size}.safetensors") == Path(f"{size}.safetensors")


def test_a_precision_is_passed_to_the_backend(tmp_path: Path) -> None:
    made = checkpoint()
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, made.network, made.facts)
    asked: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in asked:
        loaded = Sharpener.load(path, device="cpu", backend="torch", precision=precision)
        assert loaded.precision == precision
    with pytest.raises(BackendUnavailable, match="not in fp16"):
        Sharpener.load(path, device="cpu", backend="openvino", precision="fp16")


def test_the_bundled_student_loads_warms_up_and_says_what_it_is() -> None:
    sharpener = Sharpener.load(device="cpu", threads=1)
    sharpener.warm_up()
    assert sharpener.default_strength == 1
    facts = sharpener.facts_json()
    assert sharpener.checkpoint.model_id.startswith("small-")
    assert facts["architecture"] == "StudentNetEnhanced"
    assert isinstance(facts["parameters"], int)
    assert facts["parameters"] > 10_000
    assert facts["scores"]


@pytest.mark.parametrize("size", BUNDLED_SIZES)
def test_a_picture_of_one_colour_stays_it_within_two_levels(size: str) -> None:
    sharpener = Sharpener.load(size, device="cpu", backend="torch")
    for colour in itertools.product((0, 20, 128, 235, 255), repeat=3):
        image = np.full((64, 64, 3), colour, np.uint8)
        np.testing.assert_allclose(sharpener.sharpen(image).astype(int), image, atol=2)


@pytest.mark.parametrize("text", ["Alex Example", "and then we will look at the figures"])
def test_text_drawn_on_a_blurred_picture_leaves_most_of_smalls_gain(text: str) -> None:
    sharpener = Sharpener.load("small", device="cpu", backend="torch")
    sharp = np.ascontiguousarray(sample("museum")[:360, :480])
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 1.5), np.uint8)

    def gain_db(text: str) -> float:
        """Above the line of text."""
        captioned = Image.fromarray(blurred)
        ImageDraw.Draw(captioned).text(
            (60, 330), text, fill="white", stroke_fill="black", stroke_width=2, font_size=20
        )
        image = np.asarray(captioned)
        result = sharpener.sharpen(image)[:310]
        before, after = (image_psnr_db(part, sharp[:310]) for part in (image[:310], result))
        return after - before

    assert gain_db(text) > 0.6 * gain_db("") > 0.5
