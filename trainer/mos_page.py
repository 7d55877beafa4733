"""A blind rating page for a folder of results: absolute category rating with hidden reference.

The method is ACR-HR of ITU-T P.910 (five grades, single stimulus, the reference among the stimuli
without being named), the circumstances those that P.913 allows outside a laboratory. The page is
static and self-sufficient: a folder to open from disk or to put on any web server. Nothing in it
tells which method made a picture: every one is a PNG under a random name, all of one scene have the
same size in pixels and in bytes, and all files have the same date. What the names mean is in the
key, which is written beside the folder and is not for raters.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import random
import struct
import tempfile
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from shutil import rmtree
from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict

from service.model.atomic import write_bytes
from trainer.pictures import PICTURE_EXTENSIONS, ImageUnreadable, load_picture

__all__ = ["RatingKey", "RatingPage", "Stimulus", "write_rating_page"]

REFERENCE_NAMES = ("clean", "reference")
_PADDING_CHUNK = b"paDd"  # ancillary, private, safe to copy: viewers pass over it
_CHUNK_OVERHEAD_BYTES = 12
_END_CHUNK_BYTES = 12


class Stimulus(BaseModel):
    """What one anonymous picture is; `sha256` is that of its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    picture: str
    sha256: str


class RatingKey(BaseModel):
    """What the page's anonymous names mean. `study` is a digest of all the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["clearcall-rating-key"] = "clearcall-rating-key"
    version: Literal[1] = 1
    study: str
    reference: str
    stimuli: dict[str, Stimulus]


@dataclass(frozen=True, slots=True)
class RatingPage:
    """What was written: the page to open, the key to keep from raters, and what is in them.

    `left_out` says of each picture that is not in the page why.
    """

    page: Path
    key: Path
    study: str
    methods: tuple[str, ...]
    pictures: tuple[str, ...]
    left_out: Mapping[str, str]


def write_rating_page(
    folder: Path,
    output: Path,
    *,
    seed: int = 0,
    title: str = "Picture quality",
    practice: int = 3,
    pause_ms: int = 400,
) -> RatingPage:
    """Writes the page for `<folder>/<method>/<picture>.<extension>`.

    Pictures that every method has in the same size are used. The order is another one in each
    session, given by the session code that the rater sees.

    Args:
        folder: one subfolder a method; one of them is named `clean` or `reference`.
        output: folder to make; the key is written beside it as `<output>.key.json`.
        seed: of the anonymous names; the same folder and seed give the same page.
        title: shown to raters; keep the methods out of it.
        practice: pictures that are graded first and not counted, 0 or more.
        pause_ms: mid-grey before each picture, 0 to 5000.

    Raises:
        FileNotFoundError: the folder lacks methods, the reference, or pictures in common.
        FileExistsError: the page or its key is there already; ratings may belong to it.
        ValueError: a number is out of range, or two files of a method have one name.
        OSError: the output cannot be written; nothing is left of it.
    """
    if practice < 0 or not 0 <= pause_ms <= 5000:
        raise ValueError(
            f"practice must be at least 0 and pause_ms 0 to 5000, not {practice} and {pause_ms}"
        )
    methods = _methods(folder)
    reference = _reference(folder, methods)
    key_path = output.with_name(f"{output.name}.key.json")
    for path in (output, key_path):
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise FileExistsError(
                f"{path} is there already, and ratings may belong to it. Choose another output, "
                "or remove the page and its key."
            )
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        scenes, left_out, largest_px = _write_pictures(
            methods, temporary / "pictures", random.Random(seed)
        )
        if not scenes:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(left_out.items()))
            raise FileNotFoundError(
                f"{folder}: no picture can be compared across {', '.join(methods)}. "
                f"{reasons or 'They hold no pictures'}."
            )
        key = _key(reference, scenes)
        count = sum(len(scene) for scene in scenes.values())
        study = {
            "study": key.study,
            "practice": min(practice, count),
            "pauseMs": pause_ms,
            "width": largest_px[1],
            "height": largest_px[0],
            "stimuli": _anonymous(scenes),
        }
        (temporary / "index.html").write_text(_page(title, study), encoding="utf-8")
        _hide_dates(temporary)
        temporary.chmod(0o755)
        write_bytes(key_path, (key.model_dump_json(indent=1) + "\n").encode())
        if output.is_dir():
            output.rmdir()  # it is empty, and not every system renames onto a folder
        os.replace(temporary, output)
    except BaseException:
        rmtree(temporary, ignore_errors=True)
        raise
    return RatingPage(
        page=output / "index.html",
        key=key_path,
        study=key.study,
        methods=tuple(methods),
        pictures=tuple(scenes),
        left_out=left_out,
    )


def _methods(folder: Path) -> dict[str, dict[str, Path]]:
    """Each method's picture files by name without extension."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder. Name one with a subfolder a method.")
    methods: dict[str, dict[str, Path]] = {}
    for subfolder in sorted(folder.iterdir()):
        if not subfolder.is_dir() or subfolder.name.startswith("."):
            continue
        pictures: dict[str, Path] = {}
        for path in sorted(subfolder.iterdir()):
            if path.suffix.lower() not in PICTURE_EXTENSIONS or path.name.startswith("."):
                continue
            if path.stem in pictures:
                raise ValueError(
                    f"{subfolder} has {pictures[path.stem].name} and {path.name}: one picture a "
                    "name. Remove one of them."
                )
            pictures[path.stem] = path
        methods[subfolder.name] = pictures
    if len(methods) < 2:
        raise FileNotFoundError(
            f"{folder} has {len(methods)} subfolders; there must be one for each method and one "
            f"named {' or '.join(REFERENCE_NAMES)}."
        )
    return methods


def _reference(folder: Path, methods: Mapping[str, object]) -> str:
    found = [method for method in methods if method.casefold() in REFERENCE_NAMES]
    if len(found) != 1:
        raise FileNotFoundError(
            f"{folder} needs one subfolder named {' or '.join(REFERENCE_NAMES)} with the sharp "
            f"originals, to be rated unnamed among the rest; it has {' and '.join(found) or 'none'}"
            f" among {', '.join(methods)}."
        )
    return found[0]


def _write_pictures(
    methods: Mapping[str, Mapping[str, Path]], folder: Path, rng: random.Random
) -> tuple[dict[str, dict[str, Stimulus]], dict[str, str], tuple[int, int]]:
    """Stimuli by anonymous name by picture; why others were left out; largest (height, width)."""
    folder.mkdir()
    scenes: dict[str, dict[str, Stimulus]] = {}
    left_out: dict[str, str] = {}
    largest_px = (0, 0)
    for picture in sorted({name for pictures in methods.values() for name in pictures}):
        lacking = [method for method, pictures in methods.items() if picture not in pictures]
        if lacking:
            left_out[picture] = f"not in {', '.join(lacking)}"
            continue
        try:
            images = {method: _read(pictures[picture]) for method, pictures in methods.items()}
        except ValueError as exc:
            left_out[picture] = str(exc)
            continue
        if len({image.size for image in images.values()}) > 1:
            sizes = (f"{image.width}x{image.height} in {m}" for m, image in images.items())
            left_out[picture] = f"of unequal sizes ({', '.join(sizes)})"
            continue
        largest_px = (
            max(largest_px[0], *(image.height for image in images.values())),
            max(largest_px[1], *(image.width for image in images.values())),
        )
        scene = scenes[picture] = {}
        for method, encoded in _equally_large(images).items():
            name = f"{rng.getrandbits(48):012x}"
            (folder / f"{name}.png").write_bytes(encoded)
            digest = hashlib.sha256(encoded).hexdigest()
            scene[name] = Stimulus(method=method, picture=picture, sha256=digest)
    return scenes, left_out, largest_px


def _read(path: Path) -> Image.Image:
    """Upright, RGB, without anything that the file says of itself."""
    try:
        return Image.fromarray(load_picture(path))
    except ImageUnreadable as exc:
        raise ValueError(f"{path.name} in {path.parent.name} cannot be read ({exc})") from exc


def _equally_large(images: Mapping[str, Image.Image]) -> dict[str, bytes]:
    """As PNG files of one length: a sharp picture compresses less, which would tell it."""
    encoded: dict[str, bytes] = {}
    for method, image in images.items():
        out = io.BytesIO()
        image.save(out, "png", compress_level=6)
        encoded[method] = out.getvalue()
    length = max(len(each) for each in encoded.values()) + _CHUNK_OVERHEAD_BYTES
    return {method: _padded(each, length) for method, each in encoded.items()}


def _padded(png: bytes, length: int) -> bytes:
    """The PNG with a private chunk of zeros before its last one (ISO/IEC 15948, 5.3 and 14.2)."""
    content = bytes(length - len(png) - _CHUNK_OVERHEAD_BYTES)
    checksum = zlib.crc32(_PADDING_CHUNK + content)
    chunk = struct.pack(">I", len(content)) + _PADDING_CHUNK + content + struct.pack(">I", checksum)
    return png[:-_END_CHUNK_BYTES] + chunk + png[-_END_CHUNK_BYTES:]


def _key(reference: str, scenes: Mapping[str, Mapping[str, Stimulus]]) -> RatingKey:
    stimuli = {name: stimulus for scene in scenes.values() for name, stimulus in scene.items()}
    content = {name: stimulus.model_dump() for name, stimulus in sorted(stimuli.items())}
    digest = hashlib.sha256(json.dumps([reference, content]).encode()).hexdigest()
    return RatingKey(study=digest[:16], reference=reference, stimuli=stimuli)


def _anonymous(scenes: Mapping[str, Mapping[str, Stimulus]]) -> list[dict[str, str | int]]:
    """Names and scenes in the order of the names, which is as random as they are."""
    first_names = sorted(min(scene) for scene in scenes.values())
    numbers = {name: number for number, name in enumerate(first_names)}
    return sorted(
        ({"id": name, "group": numbers[min(scene)]} for scene in scenes.values() for name in scene),
        key=lambda stimulus: str(stimulus["id"]),
    )


def _page(title: str, study: Mapping[str, object]) -> str:
    parts = {
        # `<` would end the element that holds it.
        "study": json.dumps(study).replace("<", "\\u003c"),
        "style": _source("mos_page.css"),
        "script": _source("mos_page.js"),
        "title": html.escape(title),  # the last: whatever is in it stays as it is
    }
    page = _source("mos_page.html")
    for name, content in parts.items():
        page = page.replace(f"{{{{{name}}}}}", content)
    return page


def _source(name: str) -> str:
    return (resources.files("trainer") / name).read_text(encoding="utf-8")


def _hide_dates(folder: Path) -> None:
    """One date for all: they were written method by method."""
    now_s = int(time.time())
    for path in folder.rglob("*"):
        os.utime(path, (now_s, now_s))
