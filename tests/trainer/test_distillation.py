"""A student's run: exact resume, honest stops, a teacher's lessons, and a loss that falls."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from service.model.checkpoint import load_checkpoint
from service.model.sharpener import bundled_checkpoint
from service.model.student import SIZES, StudentConfig, StudentNetEnhanced
from tests.trainer.datasets import patch, softened, write_font, write_picture
from trainer import loop, losses
from trainer.config import DistillConfig, RunOptions
from trainer.data import CropDataset
from trainer.distillation import distill, distill_task
from trainer.nafnet import TEACHERS, NAFNet
from trainer.picture_set import PictureSet
from trainer.run import DivergedError, Run, StateDamagedError, StateMismatchError, learning_rate
from trainer.sources import Source, open_source
from trainer.teacher_file import TeacherFacts, find_teacher, load_teacher, save_teacher

CONFIG = DistillConfig(
    size="nano", steps=8, batch=2, crop=64, warmup=2, freeze_norm_at=0.6, precision="fp32"
)
CPU = torch.device("cpu")


def options(out: Path, **changes: Any) -> RunOptions:
    defaults: dict[str, Any] = {"device": "cpu", "workers": 0, "log_every": 2}
    return RunOptions(data=Path("unused"), out=out, **(defaults | changes))


def begun(pictures: Source, config: DistillConfig, out: Path, **changes: Any) -> Run:
    chosen = options(out, **changes)
    task, named = distill_task(pictures, config, chosen, device=CPU)
    return Run(task, pictures, named, chosen, device=CPU)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).network.state_dict()


def require_equal_bits(first: Path, second: Path) -> None:
    expected = weights_of(second)
    for name, tensor in weights_of(first).items():
        assert torch.equal(tensor, expected[name]), name


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], None]) -> None:
    """Does something once so many steps are done."""
    real = Run.train_step

    def train_step(run: Run, *batch: torch.Tensor) -> Any:
        result = real(run, *batch)
        if run.step == step:
            action()
        return result

    monkeypatch.setattr(Run, "train_step", train_step)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Lets the time run out once so many steps are done."""
    elapsed = {"s": 0.0}
    at_step(monkeypatch, steps, lambda: elapsed.update(s=3600))
    monkeypatch.setattr(loop, "_now_s", lambda: elapsed["s"])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher whose output is not its input."""
    torch.manual_seed(1)
    network = NAFNet(TEACHERS["tiny"])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    facts = TeacherFacts(config=TEACHERS["tiny"].to_json(), name="tiny", training_steps=1)
    save_teacher(path, network, facts)
    return path


@pytest.mark.parametrize("stopped_at", [3, 6])
def test_a_resumed_run_ends_with_the_bits_of_an_unbroken_one(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    unbroken = distill(pictures, CONFIG, options(tmp_path / "unbroken"))
    with monkeypatch.context() as patch:
        stop_after(patch, stopped_at)
        partial = distill(pictures, CONFIG, options(tmp_path / "broken", max_minutes=1))
    assert load_checkpoint(partial).facts.training_steps == stopped_at
    resumed = distill(pictures, CONFIG, options(tmp_path / "broken"))
    assert load_checkpoint(resumed).facts.training_steps == CONFIG.steps
    require_equal_bits(resumed, unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_has_saved_its_state_and_goes_on_bit_by_bit(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    unbroken = distill(pictures, CONFIG, options(tmp_path / "unbroken"))
    with monkeypatch.context() as patch:
        at_step(patch, 5, lambda: os.kill(os.getpid(), number))
        with pytest.raises(KeyboardInterrupt, match="the state is saved"):
            distill(pictures, CONFIG, options(tmp_path / "broken", save_every=100))
    assert begun(pictures, CONFIG, tmp_path / "broken").step == 5
    checkpoint = load_checkpoint(tmp_path / "broken" / "student.safetensors")
    assert checkpoint.facts.training_steps == 5
    require_equal_bits(distill(pictures, CONFIG, options(tmp_path / "broken")), unbroken)


def test_a_kill_loses_no_more_than_the_steps_since_the_last_saved_state(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = distill(pictures, CONFIG, options(tmp_path / "unbroken"))

    def die() -> None:
        raise SystemError("killed")

    with monkeypatch.context() as patch:
        at_step(patch, 6, die)
        with pytest.raises(SystemError):
            distill(pictures, CONFIG, options(tmp_path / "killed", save_every=4))
    assert begun(pictures, CONFIG, tmp_path / "killed").step == 4
    require_equal_bits(distill(pictures, CONFIG, options(tmp_path / "killed")), unbroken)


def test_the_exported_student_is_frozen_and_tells_its_training(
    pictures: PictureSet, tmp_path: Path
) -> None:
    facts = load_checkpoint(distill(pictures, CONFIG, options(tmp_path))).facts
    assert facts.normalisation == "frozen"
    assert facts.name == "nano"
    assert facts.training_config["rate"] == CONFIG.rate
    assert facts.data_manifest_hash == pictures.manifest_hash


def test_statistics_are_frozen_at_the_announced_step(pictures: PictureSet, tmp_path: Path) -> None:
    never = replace(CONFIG, freeze_norm_at=1.0, steps=3)
    path = distill(pictures, never, options(tmp_path / "a"))
    assert load_checkpoint(path).facts.normalisation == "instance"
    path = distill(pictures, replace(CONFIG, steps=2, freeze_norm_at=0.5), options(tmp_path / "b"))
    assert load_checkpoint(path).facts.normalisation == "frozen"


def test_a_run_starts_from_another_ones_weights(pictures: PictureSet, tmp_path: Path) -> None:
    first = distill(pictures, CONFIG, options(tmp_path / "first"))
    second = replace(CONFIG, rate=1e-9, weight_decay=0, ema=0, init=str(first))
    path = distill(pictures, second, options(tmp_path / "second"))
    init_id = load_checkpoint(first).model_id
    assert load_checkpoint(path).facts.training_config["init"] == init_id
    for name, tensor in weights_of(path).items():
        torch.testing.assert_close(tensor, weights_of(first)[name], atol=1e-6, rtol=0)


def test_bundled_students_and_teachers_are_known_by_name(
    pictures: PictureSet, tmp_path: Path
) -> None:
    config = replace(CONFIG, init="nano", teacher="compact", teacher_output=0.5, steps=1)
    facts = load_checkpoint(distill(pictures, config, options(tmp_path))).facts
    assert facts.training_config["init"] == load_checkpoint(bundled_checkpoint("nano")).model_id
    assert facts.training_config["teacher"] == load_teacher(find_teacher("compact")).teacher_id


def test_weights_of_another_size_are_refused(pictures: PictureSet, tmp_path: Path) -> None:
    first = distill(pictures, CONFIG, options(tmp_path / "first"))
    with pytest.raises(ValueError, match="cannot be made into a student of size small"):
        distill(pictures, replace(CONFIG, size="small", init=str(first)), options(tmp_path / "x"))


def test_a_run_starts_from_a_smaller_student_and_computes_what_it_does(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nano = SIZES["nano"]
    monkeypatch.setitem(SIZES, "little", replace(nano, channels=8, blocks=2, experts=1))
    first = distill(pictures, replace(CONFIG, size="little"), options(tmp_path / "first"))
    source = load_checkpoint(first).network
    run = begun(pictures, replace(CONFIG, init=str(first)), tmp_path / "second")
    assert isinstance(run.network, StudentNetEnhanced)
    assert run.network.config == replace(nano, normalisation="frozen")
    pixels = first_batch(pictures, 2)[0].float() / 255
    with torch.no_grad():
        torch.testing.assert_close(run.network(pixels), source(pixels), atol=1e-5, rtol=0)


def test_other_settings_do_not_take_over_a_run(pictures: PictureSet, tmp_path: Path) -> None:
    distill(pictures, CONFIG, options(tmp_path))
    with pytest.raises(StateMismatchError, match=r"other settings \(rate\)"):
        distill(pictures, replace(CONFIG, rate=1e-4), options(tmp_path))


def test_a_state_without_a_newer_setting_goes_on_as_by_its_default(
    pictures: PictureSet, tmp_path: Path
) -> None:
    first = distill(pictures, CONFIG, options(tmp_path))
    path = tmp_path / "state.pt"
    state = torch.load(path, weights_only=True)
    del state["config"]["overlay_share"]
    torch.save(state, path)
    assert distill(pictures, CONFIG, options(tmp_path)) == first
    state["config"]["overlay_share"] = 0.3
    torch.save(state, path)
    with pytest.raises(StateMismatchError, match=r"other settings \(overlay_share\)"):
        distill(pictures, CONFIG, options(tmp_path))


def test_a_state_of_another_shape_is_not_taken_over(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distill(pictures, CONFIG, options(tmp_path))
    monkeypatch.setitem(SIZES, CONFIG.size, replace(SIZES[CONFIG.size], pooling="weighted"))
    with pytest.raises(StateMismatchError, match="of a network of another shape"):
        distill(pictures, CONFIG, options(tmp_path))


def test_other_pictures_do_not_take_over_a_run(
    pictures: PictureSet, tmp_path: Path, few_pictures: PictureSet
) -> None:
    distill(pictures, CONFIG, options(tmp_path / "run"))
    with pytest.raises(StateMismatchError, match="other pictures"):
        distill(few_pictures, CONFIG, options(tmp_path / "run"))


def test_pages_of_other_fonts_do_not_take_over_a_run(pictures: PictureSet, tmp_path: Path) -> None:
    config = replace(CONFIG, page_share=0.5)
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    write_font(fonts / "own.ttf")
    distill(pictures, config, options(tmp_path / "run", fonts=fonts))
    with pytest.raises(StateMismatchError, match="other pictures or fonts"):
        distill(pictures, config, options(tmp_path / "run"))


def test_fonts_without_pages_to_draw_are_refused(pictures: PictureSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set page_share above 0"):
        distill(pictures, CONFIG, options(tmp_path / "run", fonts=tmp_path))


@pytest.mark.parametrize("damage", [b"", b"no state", None])
def test_a_damaged_state_is_named_and_the_checkpoint_beside_it_stays(
    pictures: PictureSet, tmp_path: Path, damage: bytes | None
) -> None:
    path = distill(pictures, CONFIG, options(tmp_path))
    before = path.read_bytes()
    state = tmp_path / "state.pt"
    state.write_bytes(state.read_bytes()[:-2000] if damage is None else damage)
    with pytest.raises(StateDamagedError, match=r"state.pt is damaged"):
        distill(pictures, CONFIG, options(tmp_path))
    assert path.read_bytes() == before


def test_a_full_disk_keeps_the_state_before(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(pictures, CONFIG, tmp_path)
    run.save()
    before = (tmp_path / "state.pt").read_bytes()

    def fail(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="Make room and run again"):
        run.save()
    assert (tmp_path / "state.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_term(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        losses.TERMS,
        "ssim",
        lambda sharpened, _: sharpened.mean(dim=(1, 2, 3)) * math.nan,
    )
    with pytest.raises(DivergedError, match="step 0: ssim is not finite"):
        distill(pictures, CONFIG, options(tmp_path))


TERMS_OF_A_RUN = ("psnr", "ssim", "routing")


def test_the_log_has_loss_psnr_and_speed(pictures: PictureSet, tmp_path: Path) -> None:
    distill(pictures, CONFIG, options(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    for line in lines:
        assert line["loss"] == pytest.approx(sum(line[term] for term in TERMS_OF_A_RUN))
        assert 10 < line["psnr_db"] <= 60
        assert line["images_per_s"] > 0


def test_tensorboard_gets_scalars_and_pictures(
    pictures: PictureSet, tmp_path: Path, samples: Path
) -> None:
    config = replace(CONFIG, validate_every=4, validation_pictures=2)
    distill(pictures, config, options(tmp_path, validation=samples, tensorboard=True))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"training/loss", "training/psnr", "validation/metric"} <= set(tags["scalars"])
    assert tags["images"] == ["crops"]


def first_batch(pictures: Source, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    dataset = CropDataset(pictures, crop_px=64, seed=0, clean_share=0)
    crops = [dataset[number] for number in range(count)]
    return torch.stack([c[0] for c in crops]), torch.stack([c[1] for c in crops])


def gradients(run: Run) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in run.network.named_parameters()
        if parameter.grad is not None
    }


def test_training_on_a_batch_lowers_its_loss(pictures: PictureSet, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=200, rate=2e-3, warmup=5, batch=4)
    run = begun(pictures, config, tmp_path)
    batch = first_batch(pictures, 4)
    losses = [sum(float(t) for t in run.train_step(*batch)[0].values()) for _ in range(60)]
    assert min(losses[-10:]) < 0.95 * losses[0]


def test_a_batch_in_parts_has_the_gradients_of_the_whole(
    pictures: PictureSet, tmp_path: Path
) -> None:
    batch = first_batch(pictures, 4)
    found = []
    for parts in (1, 2, 4):
        run = begun(pictures, replace(CONFIG, batch=4, accumulate=parts), tmp_path / str(parts))
        terms, psnr = run.compute_gradients(*batch)
        counted = run.network.get_buffer("blocks.0.first.running_mean").clone()
        found.append((gradients(run), terms, psnr, counted))
    assert found[0][3].abs().max() > 0.001
    for other, terms, psnr, counted in found[1:]:
        torch.testing.assert_close(other, found[0][0], rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(counted, found[0][3], rtol=0.1, atol=1e-3)
        torch.testing.assert_close(terms, found[0][1])
        torch.testing.assert_close(psnr, found[0][2])


def test_a_term_of_weight_zero_is_never_computed(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> torch.Tensor:
        raise AssertionError("computed")

    monkeypatch.setitem(losses.TERMS, "ssim", refuse)
    run = begun(pictures, replace(CONFIG, ssim=0.0, routing=0.0), tmp_path)
    terms, _ = run.train_step(*first_batch(pictures, 2))
    assert set(terms) == {"psnr"}


def test_the_best_weights_by_the_metric_are_kept_and_patience_ends_the_run(
    pictures: PictureSet, tmp_path: Path, samples: Path
) -> None:
    config = replace(
        CONFIG, steps=40, rate=0.0, validate_every=2, patience=2, validation_pictures=2
    )
    path = distill(pictures, config, options(tmp_path, validation=samples))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    metrics = [line["metric"] for line in lines if line.get("validation")]
    # A rate of 0 leaves the weights as they are: the first validation is the best there is.
    assert len(metrics) == 3
    assert load_checkpoint(path).facts.training_steps == 2
    assert distill(pictures, config, options(tmp_path, validation=samples)) == path
    assert begun(pictures, config, tmp_path, validation=samples).step == 6


def test_the_last_weights_are_validated_and_none_from_before_the_freezing_are_kept(
    pictures: PictureSet, tmp_path: Path, samples: Path
) -> None:
    config = replace(CONFIG, rate=0.0, freeze_norm_at=0.75, validate_every=5, validation_pictures=2)
    facts = load_checkpoint(distill(pictures, config, options(tmp_path, validation=samples))).facts
    assert (facts.training_steps, facts.normalisation) == (8, "frozen")


def test_validation_without_pictures_is_refused(pictures: PictureSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pass --validation"):
        distill(pictures, replace(CONFIG, validate_every=2), options(tmp_path))


ROUTED = replace(
    CONFIG, steps=60, batch=8, rate=5e-3, warmup=5, clean_share=0.2, crop_set=32, routing=0.1
)


def test_the_routing_loss_falls_in_a_small_run(pictures: PictureSet, tmp_path: Path) -> None:
    distill(pictures, ROUTED, options(tmp_path, log_every=10))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    routed = [line["routing"] for line in lines]
    assert routed[0] == pytest.approx(0.1 * math.log(10), rel=0.2)
    assert routed[-1] < 0.8 * routed[0]


def test_a_routed_batch_in_parts_has_the_gradients_of_the_whole(
    pictures: PictureSet, tmp_path: Path
) -> None:
    batch = first_batch(pictures, 4)
    found = []
    for parts in (1, 2):
        config = replace(CONFIG, batch=4, accumulate=parts, routing=0.5)
        run = begun(pictures, config, tmp_path / str(parts))
        terms, _ = run.compute_gradients(*batch)
        found.append((terms["routing"], gradients(run)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-7)


def terms_of_a_step(source: Source, tmp_path: Path) -> set[str]:
    run = begun(source, ROUTED, tmp_path / "run")
    terms, _ = run.compute_gradients(*first_batch(source, 8))
    return set(terms)


def test_the_routing_term_is_left_out_where_the_experts_have_no_kinds(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "routing" in terms_of_a_step(pictures, tmp_path / "ten")
    monkeypatch.setitem(SIZES, "nano", replace(SIZES["nano"], experts=4))
    assert "routing" not in terms_of_a_step(pictures, tmp_path / "four")


def test_the_routing_term_is_left_out_where_it_is_not_known_what_was_done_to_the_crops(
    tmp_path: Path,
) -> None:
    for folder in ("sharp", "blurry"):
        image = patch(0) if folder == "sharp" else softened(patch(0))
        write_picture(tmp_path / "pairs" / folder / "a.png", image)
    source = open_source(tmp_path / "pairs", smallest_px=64, cache_bytes=0)
    assert source.is_paired
    assert "routing" not in terms_of_a_step(source, tmp_path)


TAUGHT = {"teacher_output": 0.5, "teacher_features": 0.01, "crop_set": 4}


def test_kept_lessons_and_live_ones_give_the_same_loss(
    pictures: PictureSet, tmp_path: Path, teacher: Path
) -> None:
    config = replace(CONFIG, teacher=str(teacher), **TAUGHT)  # type: ignore[arg-type]
    live = distill(pictures, config, options(tmp_path / "live", log_every=1))
    kept = distill(
        pictures, config, options(tmp_path / "kept", log_every=1, teacher_cache=tmp_path / "cache")
    )
    again = distill(
        pictures, config, options(tmp_path / "again", log_every=1, teacher_cache=tmp_path / "cache")
    )
    require_equal_bits(live, kept)
    require_equal_bits(live, again)
    assert "teacher_features" in (tmp_path / "live" / "log.jsonl").read_text()


def test_a_kept_lesson_is_not_asked_for_again(
    pictures: PictureSet, tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, teacher=str(teacher), **TAUGHT)  # type: ignore[arg-type]
    asked = []
    real = NAFNet.forward_with_features

    def count(network: NAFNet, pixels: torch.Tensor, layers: tuple[str, ...]) -> Any:
        asked.append(len(pixels))
        return real(network, pixels, layers)

    monkeypatch.setattr(NAFNet, "forward_with_features", count)
    distill(pictures, config, options(tmp_path / "run", teacher_cache=tmp_path / "cache"))
    assert sum(asked) == 4


def test_lessons_on_pages_are_kept_for_each_share_of_them_and_each_set_of_fonts(
    pictures: PictureSet, tmp_path: Path, teacher: Path
) -> None:
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    write_font(fonts / "own.ttf")
    runs = ((0.0, None), (0.5, None), (0.5, fonts), (0.6, fonts))
    for number, (share, folder) in enumerate(runs):
        config = replace(CONFIG, teacher=str(teacher), page_share=share, **TAUGHT)  # type: ignore[arg-type]
        live, kept = (
            distill(
                pictures,
                config,
                options(tmp_path / f"{number}{name}", fonts=folder, teacher_cache=cache),
            )
            for name, cache in (("live", None), ("kept", tmp_path / "cache"))
        )
        require_equal_bits(live, kept)


def test_a_cache_needs_a_fixed_set_of_crops(
    pictures: PictureSet, tmp_path: Path, teacher: Path
) -> None:
    config = replace(CONFIG, teacher=str(teacher), teacher_output=1.0)
    with pytest.raises(ValueError, match="needs crop_set above 0"):
        distill(pictures, config, options(tmp_path, teacher_cache=tmp_path / "cache"))


def test_a_teachers_layer_that_is_not_there_is_named(
    pictures: PictureSet, tmp_path: Path, teacher: Path
) -> None:
    config = replace(
        CONFIG, teacher=str(teacher), teacher_features=1.0, teacher_layers="encoders.9"
    )
    with pytest.raises(ValueError, match=r"teacher_layers must be from encoders\.0"):
        distill(pictures, config, options(tmp_path))


def test_a_resumed_run_with_a_teacher_ends_with_the_same_bits(
    pictures: PictureSet, tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, teacher=str(teacher), **TAUGHT)  # type: ignore[arg-type]
    unbroken = distill(pictures, config, options(tmp_path / "unbroken"))
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        distill(pictures, config, options(tmp_path / "broken", max_minutes=1))
    require_equal_bits(distill(pictures, config, options(tmp_path / "broken")), unbroken)


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    config = replace(CONFIG, steps=110, warmup=10, rate=1.0, last_rate=0.1)
    assert learning_rate(0, config) == pytest.approx(0.1)
    assert learning_rate(9, config) == pytest.approx(1.0)
    assert learning_rate(10, config) == pytest.approx(1.0)
    assert learning_rate(60, config) == pytest.approx(0.55)
    assert learning_rate(110, config) == pytest.approx(0.1)


def test_an_unknown_size_names_the_known_ones(pictures: PictureSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nano, small, base, reference"):
        distill(pictures, replace(CONFIG, size="huge"), options(tmp_path))


def test_the_default_size_is_small_with_thirty_experts_at_half_resolution() -> None:
    assert SIZES[DistillConfig().size] == StudentConfig(
        channels=16, unshuffle=2, experts=30, pooling="weighted"
    )
