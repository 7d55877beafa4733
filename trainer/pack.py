"""Writing packs: crops of a source, clean or in pairs, in one file that travels well.

Degradations that are too slow for training, such as video codecs, are made here once. The same
source, settings and library versions give the same bytes. See `pack_file` for the format.
"""

from __future__ import annotations

import errno
import hashlib
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

import cv2

from service.model.atomic import replacing
from trainer.crop_plan import CropPlan, Degrade, PlannedCrop
from trainer.pack_file import (
    CROP_RANGE_PX,
    MANIFEST_NAME,
    PackedCrop,
    PackedFile,
    PackedPicture,
    PackManifest,
)
from trainer.picture_set import PictureSet
from trainer.pictures import ImageArray
from trainer.provenance import Provenance, read_provenance
from trainer.sources import open_source

__all__ = ["Encoding", "PackSummary", "write_pack"]

Encoding = Literal["jpeg", "png", "webp"]

_SUFFIXES: dict[Encoding, str] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}
_WEBP_LOSSLESS = 101
# Of a zip archive: what a member costs besides its bytes and its name, which stands twice; the end.
_MEMBER_BYTES = 30 + 46
_END_BYTES = 1024


@dataclass(frozen=True, slots=True)
class PackSummary:
    """What was written.

    Attributes:
        pictures: of which there is at least one crop.
        crops: or pairs of crops.
        size_bytes: of the file.
        is_full: whether `max_mib` ended it before all crops were in.
    """

    path: Path
    pictures: int
    crops: int
    is_paired: bool
    size_bytes: int
    is_full: bool

    def describe(self) -> str:
        noun = "pairs of crops" if self.is_paired else "crops"
        end = ", the size limit was reached" if self.is_full else ""
        return (
            f"{self.path}: {self.crops} {noun} of {self.pictures} pictures, "
            f"{self.size_bytes / 2**20:.1f} MiB{end}"
        )


def write_pack(
    source_path: Path,
    output: Path,
    *,
    crop_px: int,
    crops_per_picture: int,
    seed: int = 0,
    degrade: Degrade | None = None,
    degradation: str = "mixture",
    encoding: Encoding = "jpeg",
    quality: int = 95,
    max_mib: float = 0,
    cache_bytes: int = 2**30,
    frames_per_video: int = 24,
    progress: Callable[[int, int], None] | None = None,
) -> PackSummary:
    """Writes a pack, replacing what is at `output` in one step.

    Every picture gives one crop before any gives its second, in an order that the seed shuffles, so
    that a size limit leaves a fair sample. A crop is never taken twice.

    Args:
        source_path: whatever `open_source` opens, save another pack. Pairs stay pairs.
        crop_px: 16 to 2048.
        crops_per_picture: at most; 1 or more.
        degrade: makes a degraded partner for each crop; None = clean crops only.
        degradation: what the manifest calls that.
        encoding: `jpeg` (4:4:4) at `quality`, 1 to 100, or lossless.
        max_mib: the pack ends before it would grow above this; 0 = no limit.
        cache_bytes: of decoded pictures held in memory.
        progress: called with the crops that are done and the crops that there can be.

    Raises:
        FileNotFoundError: the source holds nothing that can be used.
        ValueError: a setting is out of range, or does not go with the source.
        OSError: the pack cannot be written; what was at `output` stays.
    """
    _require_settings(
        crop_px=crop_px,
        crops_per_picture=crops_per_picture,
        seed=seed,
        encoding=encoding,
        quality=quality,
        max_mib=max_mib,
    )
    source = open_source(
        source_path,
        smallest_px=crop_px,
        cache_bytes=cache_bytes,
        frames_per_video=frames_per_video,
    )
    _require_suitable(source_path, source, has_degrade=degrade is not None)
    if degradation == "none" and degrade is not None:
        raise ValueError("degradation='none' means that there is none. Name it otherwise.")
    origin = "source" if source.is_paired else degradation if degrade is not None else "none"
    manifest = PackManifest(
        crop_px=crop_px,
        seed=seed,
        encoding=encoding,
        quality=quality,
        degradation=origin,
        pictures=[],
        crops=[],
    )
    crops = CropPlan(source, crop_px, seed, crops_per_picture, degrade)
    try:
        with (
            replacing(output) as temporary,
            temporary.open("wb") as file,
            _Writer(file, manifest, source, source_path, max_mib) as writer,
        ):
            for done, crop in enumerate(crops, start=1):
                if not writer.add(crop):
                    break
                if progress is not None:
                    progress(done, len(crops))
            if not manifest.crops:
                raise ValueError(f"max_mib={max_mib:g} is too small for a single crop. Raise it.")
            writer.finish()
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
        raise OSError(
            errno.ENOSPC, "The disk is full; no pack was written. Free some space", str(output)
        ) from exc
    return PackSummary(
        path=output,
        pictures=len(manifest.pictures),
        crops=len(manifest.crops),
        is_paired=origin != "none",
        size_bytes=output.stat().st_size,
        is_full=writer.is_full,
    )


def _require_settings(
    *, crop_px: int, crops_per_picture: int, seed: int, encoding: str, quality: int, max_mib: float
) -> None:
    ranges = {
        "crop_px": (crop_px, *CROP_RANGE_PX),
        "crops_per_picture": (crops_per_picture, 1, 100_000),
        "seed": (seed, 0, 2**63 - 1),
        "quality": (quality, 1, 100),
        "max_mib": (max_mib, 0, 2**20),
    }
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise ValueError(f"{name} must be {low} to {high}, not {value}")
    if encoding not in _SUFFIXES:
        raise ValueError(f"encoding must be one of {', '.join(_SUFFIXES)}, not {encoding!r}")


def _require_suitable(source_path: Path, source: PictureSet, *, has_degrade: bool) -> None:
    if source.kind == "pack":
        raise ValueError(f"{source_path} is a pack already. Pack the pictures that it came from.")
    if source.is_paired and has_degrade:
        raise ValueError(
            f"{source_path} holds pairs, which are packed as they are. Leave the degradation out."
        )


class _Writer:
    """Fills the archive and its manifest, and keeps account of the size that it will have."""

    def __init__(
        self,
        file: IO[bytes],
        manifest: PackManifest,
        source: PictureSet,
        source_path: Path,
        max_mib: float,
    ) -> None:
        self.is_full = False
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self._manifest = manifest
        self._source = source
        self._root = source_path if source_path.is_dir() else source_path.parent
        self._provenance = read_provenance(source_path)
        self._max_bytes = int(max_mib * 2**20) if max_mib else None
        self._bytes = _END_BYTES + len(manifest.model_dump_json().encode())
        self._places: dict[int, int] = {}
        self._digests: dict[Path, str] = {}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        # After an error the file is thrown away; what closing it may add to that is no news.
        with suppress(OSError, ValueError):
            self._archive.close()

    def add(self, crop: PlannedCrop) -> bool:
        """Writes a crop; False if it would make the pack too large, and then `is_full`."""
        manifest = self._manifest
        clean = self._encode("clean", crop.clean)
        degraded = None if crop.degraded is None else self._encode("degraded", crop.degraded)
        picture = None if crop.picture in self._places else self._picture(crop.picture)
        entry = PackedCrop(
            picture=self._places.get(crop.picture, len(manifest.pictures)),
            top=crop.top,
            left=crop.left,
            clean=clean[0],
            degraded=None if degraded is None else degraded[0],
        )
        members = [member for member in (clean, degraded) if member is not None]
        cost = sum(
            _MEMBER_BYTES + 2 * len(packed.name) + len(encoded) for packed, encoded in members
        )
        for record in (entry, picture):
            cost += len(record.model_dump_json().encode()) + 1 if record is not None else 0
        if self._max_bytes is not None and self._bytes + cost > self._max_bytes:
            self.is_full = True
            return False
        self._bytes += cost
        if picture is not None:
            self._places[crop.picture] = len(manifest.pictures)
            manifest.pictures.append(picture)
        manifest.crops.append(entry)
        for packed, encoded in members:
            self._write(packed.name, encoded)
        return True

    def finish(self) -> None:
        self._write(MANIFEST_NAME, self._manifest.model_dump_json().encode())
        self._archive.close()

    def _encode(self, folder: str, image: ImageArray) -> tuple[PackedFile, bytes]:
        encoding = self._manifest.encoding
        suffix = _SUFFIXES[encoding]
        settings = {
            "jpeg": [
                cv2.IMWRITE_JPEG_QUALITY,
                self._manifest.quality,
                cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
                cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
                cv2.IMWRITE_JPEG_OPTIMIZE,
                1,
            ],
            "webp": [cv2.IMWRITE_WEBP_QUALITY, _WEBP_LOSSLESS],
            "png": [cv2.IMWRITE_PNG_COMPRESSION, 6],
        }[encoding]
        _, array = cv2.imencode(suffix, image[:, :, ::-1], settings)
        encoded = array.tobytes()
        name = f"{folder}/{len(self._manifest.crops):06d}{suffix}"
        return PackedFile(name=name, sha256=hashlib.sha256(encoded).hexdigest()), encoded

    def _picture(self, index: int) -> PackedPicture:
        item = self._source.items[index]
        height, width = self._source.shapes[index]
        path = item.clean.path
        partner = None if item.degraded is None else item.degraded.path
        return PackedPicture(
            path=item.name,
            sha256=self._digest(path),
            degraded_path=None if partner is None else partner.relative_to(self._root).as_posix(),
            degraded_sha256=None if partner is None else self._digest(partner),
            height=height,
            width=width,
            **asdict(self._provenance.get(path.resolve(), Provenance())),
        )

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            with path.open("rb") as file:
                self._digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[path]

    def _write(self, name: str, content: bytes) -> None:
        # A fixed date and system: the same crops give the same bytes anywhere, any time.
        member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
        member.create_system = 3
        member.external_attr = 0o644 << 16
        self._archive.writestr(member, content)
