"""An evaluation as one HTML file that needs nothing else: no network, no server, no other file.

Style and script are inlined, charts are SVG, examples are lossless WebP. A content security policy
forbids everything besides; names of files are text wherever they stand.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from service.model.atomic import write_bytes
from trainer.cases import Case, clip_cases
from trainer.clip_evaluation import ClipQuality
from trainer.evaluation import UNTOUCHED, Quality
from trainer.methods import ImageArray
from trainer.quality import HARM_DB
from trainer.report_card import (
    category_section,
    clip_section,
    method_notes,
    score_sections,
    speed_rows,
    still_section,
    tiles,
    training_charts,
    worst_lists,
)
from trainer.still_scene import Stillness
from trainer.training_log import read_training_log

__all__ = ["write_html_report"]

_KINDS = ("worst five", "median", "best", "video")
# Methods that the examples leave out, so that the panes stay large.
_LEFT_OUT = {"unsharp", "cas"}


def write_html_report(
    path: Path,
    measured: Sequence[Quality],
    *,
    model_id: str,
    strength: float,
    cases: Sequence[Case] = (),
    clips: Sequence[ClipQuality] = (),
    still: Sequence[Stillness] = (),
    log_path: Path | None = None,
    command: str = "",
    created: str | None = None,
) -> None:
    """Writes the report card, in one step.

    Args:
        measured: from `trainer.evaluation.evaluate`.
        cases: examples of it, from `trainer.cases.render_cases`; their images are embedded.
        clips: from `trainer.clip_evaluation.evaluate_clips`; of each codec's lowest rate a frame
            is embedded.
        still: from `trainer.still_scene.evaluate_still`.
        log_path: a run's `log.jsonl`, for the training curves.
        command: how the evaluation was run.
        created: its date; None = now.

    Raises:
        ValueError: nothing was measured.
        OSError: the log cannot be read or the file cannot be written.
    """
    if not measured and not clips:
        raise ValueError("there is nothing to report: no picture and no clip was measured")
    worst_region, worst = worst_lists(measured)
    card = {
        "model_id": model_id,
        "strength": strength,
        "created": created or datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
        "picture_count": len({q.picture for q in measured}),
        "clip_count": len({q.clip for q in clips}),
        "tiles": tiles(measured, clips),
        "regions": score_sections(measured),
        "categories": category_section(measured),
        "clips": clip_section(clips),
        "still": still_section(still),
        "examples": _examples([*cases, *clip_cases(clips)]),
        "worst_region": worst_region,
        "worst": worst,
        "speed": speed_rows(measured, clips),
        "training": training_charts(read_training_log(log_path)) if log_path else [],
        "notes": method_notes(measured, clips),
    }
    write_bytes(path, _page(card).encode())


def _page(card: dict[str, Any]) -> str:
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.from_string(_asset("report.html")).render(
        card=card,
        style=Markup(style),  # nosec B704 - our own file
        script=Markup(script),  # nosec B704 - our own file
        script_hash=f"sha256-{digest}",
    )


def _asset(name: str) -> str:
    return (resources.files("trainer") / "report_page" / name).read_text(encoding="utf-8")


def _examples(cases: Sequence[Case]) -> dict[str, Any]:
    """The examples as JSON for the page's script: every image once, the worst examples first."""
    images: dict[bytes, int] = {}
    encoded: list[str] = []

    def place(image: ImageArray) -> int:
        digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        if digest not in images:
            images[digest] = len(encoded)
            encoded.append(_data_uri(image))
        return images[digest]

    columns = [
        name
        for name in dict.fromkeys(("input", "student", *(n for c in cases for n in c.images)))
        if name not in _LEFT_OUT | {"clean"}
    ]
    rows = [
        {
            "protocol": case.protocol,
            "name": case.name,
            "rank": case.rank,
            "kind": _kind(case),
            "is_failure": case.change_db < -HARM_DB,
            "change_db": round(case.change_db, 3),
            "psnr_db": {name: round(value, 3) for name, value in case.psnr_db.items()},
            "ssim": {name: round(value, 4) for name, value in case.ssim.items()},
            "images": {
                name: place(case.images[name])
                for name in (*columns, "clean")
                if name in case.images
            },
        }
        for case in sorted(cases, key=_order)
    ]
    return {"columns": [*columns, "clean"], "cases": rows, "images": encoded}


def _kind(case: Case) -> str:
    if case.rank.startswith("worst"):
        return "worst five"
    return case.rank if case.rank in _KINDS else "video"


def _order(case: Case) -> tuple[int, bool, float]:
    """Sharp pictures lose many dB where little can be seen: they come after the others."""
    return _KINDS.index(_kind(case)), case.protocol == UNTOUCHED, case.change_db


def _data_uri(image: ImageArray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "webp", lossless=True, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
