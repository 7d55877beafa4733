"""What `evaluate` refuses before it measures, which can take hours."""

from __future__ import annotations

import argparse
from pathlib import Path

from service.errors import CheckpointError
from service.model.fusion import Fusion
from service.model.sharpener import (
    BUNDLED_SIZES,
    STRENGTH_RANGE,
    Sharpener,
    bundled_checkpoint,
)
from trainer.clip_evaluation import LEAST_FRAMES, has_clip
from trainer.commands.places import require_file_place, require_folder_place
from trainer.evaluation import CROP_PX, Region
from trainer.pictures import ImageUnreadable, choose_pictures, picture_size
from trainer.training_log import read_training_log
from trainer.video_codec import LADDER, available_codecs

__all__ = [
    "early_fusion",
    "regions_of",
    "require_fitting",
    "require_own_strength",
    "require_readable",
    "require_writable",
]


def regions_of(arguments: argparse.Namespace) -> tuple[Region, ...]:
    return ("crop", "whole") if arguments.region == "both" else (arguments.region,)


def require_fitting(arguments: argparse.Namespace) -> None:
    """Refuses numbers out of range, and options that need or exclude others.

    Raises:
        ValueError: says what to do.
    """
    low, high = STRENGTH_RANGE
    if arguments.strength is not None and not low <= arguments.strength <= high:
        raise ValueError(f"--strength must be {low:g} to {high:g}, not {arguments.strength:g}")
    if arguments.limit < 0:
        raise ValueError(f"--limit must be 0 (all) or more, not {arguments.limit}")
    if arguments.clip_frames < LEAST_FRAMES:
        raise ValueError(
            f"--clip-frames must be {LEAST_FRAMES} or more, not {arguments.clip_frames}: flicker "
            "is a change between frames"
        )
    if arguments.clips is None and (arguments.recordings or arguments.look_ahead):
        raise ValueError("--recordings and --look-ahead are of videos: pass --clips")
    if arguments.log and not arguments.html:
        raise ValueError("--log is for the curves of the report card: pass --html")
    if arguments.teacher_window and arguments.teacher is None:
        raise ValueError("--teacher-window is of the teacher: pass --teacher")
    if arguments.write_scores and "crop" not in regions_of(arguments):
        raise ValueError("--write-scores writes the crops' scores: measure --region crop or both")
    if arguments.write_scores and (arguments.wide or arguments.overlays):
        other = "--wide" if arguments.wide else "--overlays"
        raise ValueError(f"--write-scores writes the usual protocols' scores: leave out {other}")
    if arguments.find_strength and arguments.strength is not None:
        raise ValueError("--find-strength measures strengths: leave out --strength")


def require_own_strength(arguments: argparse.Namespace, sharpener: Sharpener) -> None:
    """Refuses to write the scores of a strength that is not the checkpoint's.

    Raises:
        ValueError: that is what was asked for.
    """
    if arguments.write_scores and arguments.strength not in (None, sharpener.default_strength):
        raise ValueError(
            "--write-scores writes the scores of the strength that is served: leave out --strength"
        )


def require_writable(arguments: argparse.Namespace) -> None:
    """Refuses outputs that have no place.

    Raises:
        ValueError: names the option.
    """
    for option, path in (("--json", arguments.json), ("--html", arguments.html)):
        if path is not None:
            require_file_place(option, path)
    if arguments.grids is not None:
        require_folder_place("--grids", arguments.grids)
    if arguments.find_strength or arguments.write_scores:
        if arguments.checkpoint.resolve() in map(_bundled, BUNDLED_SIZES):
            raise ValueError(
                "--find-strength and --write-scores write into the checkpoint, and this one came "
                "with Clearcall: pass --checkpoint with a file of yours, such as a copy of it"
            )
        require_file_place("--checkpoint", arguments.checkpoint)


def require_readable(arguments: argparse.Namespace) -> None:
    """Refuses pictures, videos and a log with nothing in them that can be used.

    Raises:
        FileNotFoundError: `--data` holds no picture.
        ValueError: names the option.
    """
    paths = choose_pictures(arguments.data, arguments.limit)
    needs_crops = [
        f"--{name.replace('_', '-')}"
        for name in ("find_strength", "write_scores", "still")
        if getattr(arguments, name)
    ]
    if needs_crops and not any(map(_has_crop, paths)):
        raise ValueError(
            f"{needs_crops[0]} measures crops of {CROP_PX} px, and {arguments.data} holds no "
            "picture that is so large"
        )
    if arguments.clips is not None:
        _require_clips(arguments.clips)
    if arguments.log is not None:
        try:
            read_training_log(arguments.log)
        except OSError as exc:
            raise ValueError(
                f"--log {arguments.log} cannot be read ({exc.strerror or exc}). Name the log.jsonl "
                "in a run's folder."
            ) from exc


def early_fusion(arguments: argparse.Namespace, sharpener: Sharpener) -> Fusion | None:
    """What `--look-ahead` names.

    Raises:
        ValueError: it cannot be used; names the option.
    """
    if arguments.look_ahead is None:
        return None
    try:
        return Fusion.load(arguments.look_ahead, device=sharpener.device, threads=arguments.threads)
    except CheckpointError as exc:
        raise ValueError(f"--look-ahead {exc}") from exc


def _bundled(size: str) -> Path:
    return bundled_checkpoint(size).resolve()


def _has_crop(path: Path) -> bool:
    try:
        return min(picture_size(path)) >= CROP_PX
    except ImageUnreadable:
        return False


def _require_clips(place: Path) -> None:
    if not place.exists():
        raise ValueError(f"--clips {place}: no such file or folder. Name a video, or a folder.")
    if not has_clip(place):
        raise ValueError(
            f"--clips {place} holds no video that can be read and has {LEAST_FRAMES} frames. Name "
            "a video, or a folder of videos."
        )
    missing = _codecs() - set(available_codecs())
    if missing:
        raise ValueError(f"--clips needs {', '.join(sorted(missing))}, which FFmpeg here lacks")


def _codecs() -> set[str]:
    return {rung.codec for rung in LADDER}
