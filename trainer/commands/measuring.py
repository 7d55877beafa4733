"""`evaluate`, `bench` and `mos`: how good, how fast, and what people say."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from service.model.atomic import write_bytes
from service.model.fusion import Fusion
from service.model.fusion_file import bundled_fusion
from service.model.sharpener import (
    Sharpener,
    find_checkpoint,
)
from trainer.bench import STUDENTS, bench, print_report
from trainer.cases import choose_cases, render_cases
from trainer.clip_evaluation import ClipQuality, evaluate_clips, load_clips
from trainer.commands.argument_types import thread_count
from trainer.commands.evaluation_checks import (
    early_fusion,
    regions_of,
    require_fitting,
    require_own_strength,
    require_readable,
    require_writable,
)
from trainer.commands.help_text import HelpFormatter
from trainer.commands.places import require_file_place, require_folder_place
from trainer.degradation import PROTOCOLS
from trainer.evaluation import Distance, Quality, best_strength, evaluate
from trainer.export import rewrite_facts
from trainer.methods import Method, standard_methods
from trainer.mos import opinion_json, opinion_table, summarise_ratings
from trainer.mos_page import write_rating_page
from trainer.overlaid_protocols import OVERLAID_PROTOCOLS
from trainer.perceptual_metric import PerceptualMetric
from trainer.picture_grid import write_grids
from trainer.report import (
    SSIM_NOTE,
    clip_table,
    header_scores,
    report_json,
    report_table,
    still_table,
    worst_table,
)
from trainer.report_html import write_html_report
from trainer.still_scene import STILL_NOTE, Stillness, evaluate_still
from trainer.teacher_file import BUNDLED_TEACHERS, find_teacher, load_teacher
from trainer.teacher_method import teacher_method
from trainer.timing import Timing
from trainer.video_codec import LADDER, RECORDING_LADDER
from trainer.wide_protocols import WIDE_PROTOCOLS

__all__ = ["add_measuring_commands"]

Commands = argparse._SubParsersAction  # argparse has no public name for it

_STRENGTH_STEPS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)


@dataclass(frozen=True, slots=True)
class _Results:
    """What one call of `evaluate` measured."""

    pictures: Sequence[Quality]
    clips: Sequence[ClipQuality]
    still: Sequence[Stillness]


def add_measuring_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the commands of this module."""
    _add_evaluate(commands)
    _add_bench(commands)
    _add_mos(commands)


def _add_evaluate(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "evaluate",
        help="measure a checkpoint under fixed degradations; write the report card",
        description="Input, unsharp mask, CAS, student and, where given, teacher side by side. "
        + SSIM_NOTE
        + ".",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=_evaluate)
    command.add_argument(
        "--checkpoint",
        type=find_checkpoint,
        default="small",
        help="nano, small, base, or a checkpoint's path",
    )
    command.add_argument("--data", type=Path, required=True, help="folder of sharp pictures")
    command.add_argument("--region", choices=("crop", "whole", "both"), default="both")
    others = command.add_mutually_exclusive_group()
    others.add_argument(
        "--wide",
        action="store_true",
        help=f"measure {len(WIDE_PROTOCOLS)} other degradations in place of the usual "
        f"{len(PROTOCOLS)}: more filters, factors, blurs and compressors",
    )
    others.add_argument(
        "--overlays",
        action="store_true",
        help="measure degraded pictures with a name tag, captions or a sharp picture drawn on them",
    )
    command.add_argument(
        "--strength",
        type=float,
        help="of the correction: 0 = none, 1 = as trained, to 2; default: the file's",
    )
    command.add_argument("--limit", type=int, default=0, help="pictures; 0 = all")
    command.add_argument(
        "--teacher",
        type=find_teacher,
        help=f"measure this NAFNet too: {', '.join(BUNDLED_TEACHERS)} or a file",
    )
    command.add_argument(
        "--teacher-window",
        type=int,
        default=0,
        help="its attention averages over a window of so many px (TLC); 0 = over the picture",
    )
    command.add_argument("--clips", type=Path, help="videos to measure through the codec ladder")
    command.add_argument(
        "--recordings",
        action="store_true",
        help="measure the videos as recordings too, whose frames are predicted from later ones",
    )
    command.add_argument("--clip-frames", type=int, default=60, help="of each video, at most")
    command.add_argument(
        "--look-ahead",
        type=Path,
        nargs="?",
        const=bundled_fusion(),
        metavar="FILE",
        help="measure clips fused with their neighbours too, as clearcall video --look-ahead 3; by "
        "the bundled weights, or a file of clearcall-train fusion",
    )
    command.add_argument(
        "--still",
        action="store_true",
        help="measure flicker where nothing moves; " + STILL_NOTE,
    )
    command.add_argument("--lpips-weights", type=Path, help="measure LPIPS too, with this file")
    command.add_argument("--json", type=Path, help="write the full report here")
    command.add_argument("--html", type=Path, help="write the report card here, one file")
    command.add_argument("--grids", type=Path, help="write PNG grids of examples to this folder")
    command.add_argument("--log", type=Path, help="a run's log.jsonl, for the report's curves")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    command.add_argument("--backend", default="auto", help="auto, torch or openvino")
    command.add_argument("--threads", type=thread_count, default=0, help="CPU threads; 0 = all")
    command.add_argument(
        "--find-strength",
        action="store_true",
        help="measure strengths from 0.6 to 1.4 and write the best one into the checkpoint's "
        "header first",
    )
    command.add_argument(
        "--write-scores",
        action="store_true",
        help="write the centre crops' scores into the checkpoint's header",
    )


def _evaluate(arguments: argparse.Namespace, console: Console) -> int:
    require_fitting(arguments)
    sharpener = _load(arguments)
    require_own_strength(arguments, sharpener)
    require_writable(arguments)
    require_readable(arguments)
    extra = _teacher_methods(arguments)
    fusion = early_fusion(arguments, sharpener)
    weights = arguments.lpips_weights
    lpips = PerceptualMetric.load(weights).distance if weights else None
    if arguments.find_strength:
        sharpener = _with_best_strength(arguments, sharpener, console)
    results = _Results(
        _measured(arguments, sharpener, extra, lpips, console),
        _measured_clips(arguments, sharpener, extra, fusion, console),
        _measured_still(arguments, sharpener, extra, console),
    )
    if arguments.write_scores:
        scores = header_scores(results.pictures, "crop")
        if not scores:
            raise ValueError(f"{arguments.data} holds no picture that is large enough for a crop")
        rewrite_facts(arguments.checkpoint, sharpener.checkpoint, scores=scores)
        console.print(f"wrote the scores into {arguments.checkpoint}", markup=False)
        sharpener = _load(arguments)  # its id is another one now
    _print(arguments, sharpener, results)
    _write(arguments, sharpener, extra, results)
    return 0


def _with_best_strength(
    arguments: argparse.Namespace, sharpener: Sharpener, console: Console
) -> Sharpener:
    best, means = best_strength(
        sharpener, arguments.data, strengths=_STRENGTH_STEPS, limit=arguments.limit
    )
    for strength, psnr in means.items():
        console.print(f"strength {strength:g}: {psnr:.3f} dB")
    is_other = best != sharpener.default_strength
    rewrite_facts(
        arguments.checkpoint,
        sharpener.checkpoint,
        default_strength=best,
        scores={} if is_other else None,  # they were of the strength before
    )
    console.print(f"wrote strength {best:g} into {arguments.checkpoint}", markup=False)
    return _load(arguments)


def _teacher_methods(arguments: argparse.Namespace) -> dict[str, Method]:
    if arguments.teacher is None:
        return {}
    teacher = load_teacher(arguments.teacher)
    method = teacher_method(
        teacher.network, window_px=arguments.teacher_window, device=arguments.device
    )
    return {"teacher": method}


@contextmanager
def _progress(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told how many are done, and of how many."""
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _protocols_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.wide:
        return tuple(WIDE_PROTOCOLS)
    return tuple(OVERLAID_PROTOCOLS if arguments.overlays else PROTOCOLS)


def _measured(
    arguments: argparse.Namespace,
    sharpener: Sharpener,
    extra: dict[str, Method],
    lpips: Distance | None,
    console: Console,
) -> list[Quality]:
    with _progress(console, "evaluate") as advance:
        return evaluate(
            sharpener,
            arguments.data,
            regions=regions_of(arguments),
            protocols=_protocols_of(arguments),
            strength=arguments.strength,
            limit=arguments.limit,
            on_picture=advance,
            extra_methods=extra,
            lpips=lpips,
        )


def _measured_clips(
    arguments: argparse.Namespace,
    sharpener: Sharpener,
    extra: dict[str, Method],
    fusion: Fusion | None,
    console: Console,
) -> list[ClipQuality]:
    if arguments.clips is None:
        return []
    clips = load_clips(arguments.clips, max_frames=arguments.clip_frames)
    with _progress(console, "clips") as advance:
        return evaluate_clips(
            sharpener,
            clips,
            ladder=(*LADDER, *RECORDING_LADDER) if arguments.recordings else LADDER,
            strength=arguments.strength,
            extra_methods=extra,
            fusion=fusion,
            on_rung=advance,
        )


def _measured_still(
    arguments: argparse.Namespace,
    sharpener: Sharpener,
    extra: dict[str, Method],
    console: Console,
) -> list[Stillness]:
    if not arguments.still:
        return []
    with _progress(console, "still scenes") as advance:
        return evaluate_still(
            sharpener,
            arguments.data,
            strength=arguments.strength,
            limit=arguments.limit,
            extra_methods=extra,
            on_picture=advance,
        )


def _print(arguments: argparse.Namespace, sharpener: Sharpener, results: _Results) -> None:
    output = Console(width=max(150, Console().width))
    for region in regions_of(arguments):
        output.print(report_table(results.pictures, region))
        output.print(worst_table(results.pictures, region))
    if results.clips:
        output.print(clip_table(results.clips))
    if results.still:
        output.print(still_table(results.still))
    strength = _strength(arguments, sharpener)
    output.print(f"{sharpener.checkpoint.model_id}, strength {strength:g}. {SSIM_NOTE}.")


def _write(
    arguments: argparse.Namespace,
    sharpener: Sharpener,
    extra: dict[str, Method],
    results: _Results,
) -> None:
    model_id, strength = sharpener.checkpoint.model_id, _strength(arguments, sharpener)
    command = _command()
    if arguments.json:
        report = report_json(
            results.pictures,
            model_id=model_id,
            strength=strength,
            clips=results.clips,
            still=results.still,
            command=command,
        )
        write_bytes(arguments.json, (json.dumps(report, indent=1) + "\n").encode())
    if not (arguments.html or arguments.grids):
        return
    methods = standard_methods(sharpener, strength=arguments.strength, extra=extra)
    cases = render_cases(arguments.data, choose_cases(results.pictures), methods)
    if arguments.grids:
        arguments.grids.mkdir(parents=True, exist_ok=True)
        write_grids(arguments.grids, cases)
    if arguments.html:
        write_html_report(
            arguments.html,
            results.pictures,
            model_id=model_id,
            strength=strength,
            cases=cases,
            clips=results.clips,
            still=results.still,
            log_path=arguments.log,
            command=command,
        )


def _command() -> str:
    """How this was called, as it can be called again; folders by their last names."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return shlex.join(["clearcall-train", *words])


def _strength(arguments: argparse.Namespace, sharpener: Sharpener) -> float:
    return sharpener.default_strength if arguments.strength is None else arguments.strength


def _load(arguments: argparse.Namespace) -> Sharpener:
    return Sharpener.load(
        arguments.checkpoint,
        device=arguments.device,
        backend=arguments.backend,
        threads=arguments.threads,
    )


def _add_bench(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "bench",
        help="milliseconds per frame; JSON as the last line",
        description="Times students on this machine beside the published network's shape.",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=_bench)
    command.add_argument(
        "--students", nargs="+", default=list(STUDENTS), help="named sizes or checkpoints"
    )
    command.add_argument(
        "--sizes",
        nargs="+",
        type=_size,
        default=[(256, 256), (360, 640), (720, 1280)],
        metavar="WxH",
        help="of the pictures (default: 256x256 640x360 1280x720)",
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    command.add_argument("--precisions", nargs="+", default=[], help="fp32, bf16, fp16")
    command.add_argument(
        "--backends", nargs="+", default=[], help="torch, openvino, onnxruntime; none = all"
    )
    command.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    command.add_argument(
        "--threads", type=thread_count, default=0, help="CPU threads; 0 = torch's choice"
    )
    command.add_argument("--batch", type=int, default=1, help="pictures in a call")


def _size(text: str) -> tuple[int, int]:
    """`WxH` -> (height, width)."""
    width, _, height = text.partition("x")
    try:
        return int(height), int(width)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT") from exc


def _bench(arguments: argparse.Namespace, console: Console) -> int:
    def show(timing: Timing) -> None:
        console.print(
            f"{timing.what} {timing.backend} {timing.width}x{timing.height}: "
            f"{timing.median_ms:.2f} ms",
            markup=False,
        )

    report = bench(
        arguments.students,
        sizes=arguments.sizes,
        device=arguments.device,
        precisions=arguments.precisions,
        runtimes=arguments.backends,
        seconds=arguments.seconds,
        threads=arguments.threads,
        batch=arguments.batch,
        on_timing=show,
    )
    print_report(report)
    return 0


def _add_mos(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("mos", help="people's opinion: a blind rating page, and scores")
    actions = command.add_subparsers(required=True, metavar="ACTION")
    page = actions.add_parser(
        "page",
        help="write a rating page for FOLDER/<method>/<picture>",
        formatter_class=HelpFormatter,
    )
    page.set_defaults(run=_mos_page)
    page.add_argument("folder", type=Path, help="one subfolder a method, one of them `clean`")
    page.add_argument("--out", type=Path, required=True, help="folder to make")
    page.add_argument("--title", default="Picture quality", help="shown to the raters")
    page.add_argument("--practice", type=int, default=3, help="pictures that do not count")
    page.add_argument("--seed", type=int, default=0, help="of the anonymous names")
    table = actions.add_parser("table", help="mean opinion scores from ratings files")
    table.set_defaults(run=_mos_table)
    table.add_argument("ratings", type=Path, nargs="+", help="files that the page saved")
    table.add_argument("--key", type=Path, required=True, help="the page's key")
    table.add_argument("--json", type=Path, help="write the scores here too")
    table.add_argument(
        "--reject",
        action="store_true",
        help="leave out raters who often grade the hidden reference below good",
    )


def _mos_page(arguments: argparse.Namespace, console: Console) -> int:
    require_folder_place("--out", arguments.out)
    page = write_rating_page(
        arguments.folder,
        arguments.out,
        seed=arguments.seed,
        title=arguments.title,
        practice=arguments.practice,
    )
    for name, reason in page.left_out.items():
        console.print(f"left out {name}: {reason}", markup=False)
    console.print(f"{len(page.pictures)} pictures x {', '.join(page.methods)}", markup=False)
    console.print(f"keep to yourself: {page.key}", markup=False)
    print(page.page)
    return 0


def _mos_table(arguments: argparse.Namespace, _: Console) -> int:
    if arguments.json:
        require_file_place("--json", arguments.json)
    summary = summarise_ratings(arguments.ratings, arguments.key, is_rejecting=arguments.reject)
    Console(width=max(120, Console().width)).print(opinion_table(summary))
    if arguments.json:
        write_bytes(arguments.json, (json.dumps(opinion_json(summary), indent=1) + "\n").encode())
    return 0
