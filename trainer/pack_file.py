"""The pack: training crops in one file that travels well. Its format, and reading it.

A pack is a zip archive whose members are stored, not compressed:

    clean/000000.jpg     crop 0, also .png or .webp
    degraded/000000.jpg  its degraded partner, in packs of pairs
    manifest.json        a `PackManifest`, the last member

Nothing in it is executed or unpickled, and it is read as if a stranger had sent it: the size of
everything is checked before memory is spent on it, every crop against its SHA-256.

    PackError                 something is wrong with a pack; the message says what to do
        PackCorrupt           truncated, or a crop that is not what the manifest says
        PackForeign           not a pack: no zip archive, or one without a manifest
        PackVersionUnknown    of another version of the format
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainer.items import Item, Loaded, Skipped, read_ahead
from trainer.picture_set import PictureSet
from trainer.pictures import ImageArray, ImageUnreadable, decode_picture, picture_size

__all__ = [
    "CROP_RANGE_PX",
    "MANIFEST_NAME",
    "PACK_VERSION",
    "PackCorrupt",
    "PackEntry",
    "PackError",
    "PackForeign",
    "PackManifest",
    "PackVersionUnknown",
    "PackedCrop",
    "PackedFile",
    "PackedPicture",
    "is_pack",
    "open_pack",
    "read_manifest",
]

PACK_VERSION: Literal[1] = 1
MANIFEST_NAME = "manifest.json"
CROP_RANGE_PX = (16, 2048)
_LARGEST_MANIFEST_BYTES = 192 * 1024 * 1024
_MOST_MEMBERS = 500_001
_ZIP_MAGIC = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4s22xHH")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PackError(ValueError):
    """Something is wrong with a pack."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class PackCorrupt(PackError):
    """Truncated, or a crop that is not what the manifest says."""


class PackForeign(PackError):
    """Not a pack."""


class PackVersionUnknown(PackError):
    """Of another version of the format."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PackedFile(_Strict):
    """A member of the archive."""

    name: str = Field(pattern=r"^(clean|degraded)/[0-9]{6,7}\.(jpg|png|webp)$")
    sha256: Digest


class PackedPicture(_Strict):
    """Where crops come from."""

    path: str = Field(description="below the source folder; of a video, with the frame's number")
    sha256: Digest = Field(description="of the file that it is in")
    degraded_path: str | None = Field(default=None, description="of its partner in the source")
    degraded_sha256: Digest | None = None
    height: int = Field(ge=1, description="px")
    width: int = Field(ge=1, description="px")
    category: str = "unknown"
    licence: str = "unknown"
    source: str = "unknown"


class PackedCrop(_Strict):
    """A crop, or a pair of crops of the same place."""

    picture: int = Field(ge=0, description="index in `pictures`")
    top: int = Field(ge=0, description="px")
    left: int = Field(ge=0, description="px")
    clean: PackedFile
    degraded: PackedFile | None = None


class PackManifest(_Strict):
    """What a pack says about itself."""

    format_version: Literal[1] = PACK_VERSION
    crop_px: int = Field(ge=CROP_RANGE_PX[0], le=CROP_RANGE_PX[1])
    seed: int = Field(ge=0)
    encoding: Literal["jpeg", "png", "webp"]
    quality: int = Field(ge=1, le=100, description="of JPEG; the others lose nothing")
    degradation: str = Field(description="what made the degraded crops; none = there are none")
    pictures: list[PackedPicture]
    crops: list[PackedCrop]


@dataclass(frozen=True, slots=True)
class PackEntry:
    """A crop's bytes in a pack: where they lie, and what they must be.

    Attributes:
        offset: of the first byte in the file.
    """

    path: Path
    offset: int
    length: int
    sha256: str
    crop_px: int

    def read(self) -> ImageArray:
        """The crop, (crop_px, crop_px, 3) uint8 RGB.

        Raises:
            ImageUnreadable: the file vanished.
            PackCorrupt: the bytes are not those that were packed.
        """
        try:
            with self.path.open("rb") as file:
                encoded = os.pread(file.fileno(), self.length, self.offset)
        except OSError as exc:
            raise ImageUnreadable(f"cannot be read ({exc.strerror or exc})") from exc
        if hashlib.sha256(encoded).hexdigest() != self.sha256:
            raise _damaged(self.path, "its hash is another one")
        try:
            if picture_size(encoded) != (self.crop_px, self.crop_px):
                raise _damaged(self.path, f"it is not {self.crop_px} px wide and high")
            return decode_picture(encoded)
        except ImageUnreadable as exc:
            raise _damaged(self.path, str(exc)) from exc


def _damaged(path: Path, reason: str) -> PackCorrupt:
    return PackCorrupt(path, f"a crop is not the one that was packed: {reason}. Copy it again.")


def is_pack(path: Path) -> bool:
    """Whether a file begins like a pack."""
    with path.open("rb") as file:
        return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


def read_manifest(path: Path) -> PackManifest:
    """What a pack says about itself; the crops are not looked at.

    Raises:
        PackError: the leaf says what is wrong.
        OSError: the file cannot be read.
    """
    with _archive(path) as archive:
        return _manifest(path, archive)


def open_pack(path: Path, *, smallest_px: int, cache_bytes: int) -> PictureSet:
    """The crops of a pack; each is read, checked and decoded once.

    Raises:
        PackError: the leaf says what is wrong.
        FileNotFoundError: the crops are smaller than `smallest_px`, or there are none.
        OSError: the file cannot be read.
    """
    with _archive(path) as archive:
        manifest = _manifest(path, archive)
        if manifest.crop_px < smallest_px:
            raise FileNotFoundError(
                f"{path} holds crops of {manifest.crop_px} px and {smallest_px} px are asked for. "
                f"Train on crops of {manifest.crop_px} px or less, or pack larger ones."
            )
        items = list(_items(path, archive, manifest))
    per_crop = 1 if manifest.degradation == "none" else 2
    return PictureSet.collect(
        _checked(items, path),
        kind="pack",
        layout=f"pack of {manifest.crop_px} px crops from {len(manifest.pictures)} pictures",
        root=path,
        smallest_px=smallest_px,
        cache_bytes=min(cache_bytes, len(items) * per_crop * manifest.crop_px**2 * 3),
    )


def _checked(items: list[Item], path: Path) -> Iterator[Loaded]:
    for one in read_ahead(items):
        if isinstance(one, Skipped):
            raise PackCorrupt(path, f"{one.name} {one.reason}. Copy it again.")
        yield one


def _archive(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file. Name a pack written by clearcall-train.")
    if not is_pack(path):
        raise PackForeign(path, "not a pack. Write one with clearcall-train pack.")
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as exc:
        raise PackCorrupt(path, f"truncated or damaged ({exc}). Copy it again.") from exc


def _manifest(path: Path, archive: zipfile.ZipFile) -> PackManifest:
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        raise PackForeign(path, f"{len(members)} members are more than any pack has. Not read.")
    try:
        member = archive.getinfo(MANIFEST_NAME)
    except KeyError as exc:
        raise PackForeign(
            path, f"a zip archive without {MANIFEST_NAME}. Write a pack with clearcall-train pack."
        ) from exc
    _require_stored(path, member, _LARGEST_MANIFEST_BYTES)
    try:
        raw: Any = json.loads(archive.read(member))
    except (zipfile.BadZipFile, ValueError, RecursionError, EOFError) as exc:
        raise PackCorrupt(path, f"its manifest is damaged ({exc}). Copy it again.") from exc
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version != PACK_VERSION:
        raise PackVersionUnknown(
            path, f"format version {version!r}; this build reads {PACK_VERSION}. Pack it again."
        )
    try:
        manifest = PackManifest.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PackCorrupt(path, f"manifest, {where}: {first['msg']}. Pack it again.") from exc
    _require_consistent(path, manifest)
    return manifest


def _require_consistent(path: Path, manifest: PackManifest) -> None:
    is_paired = manifest.degradation != "none"
    for number, crop in enumerate(manifest.crops):
        if crop.picture >= len(manifest.pictures):
            raise PackCorrupt(path, f"crop {number} is of a picture that the manifest lacks.")
        if (crop.degraded is not None) != is_paired:
            raise PackCorrupt(path, f"crop {number} contradicts 'degradation'. Pack it again.")


def _items(path: Path, archive: zipfile.ZipFile, manifest: PackManifest) -> Iterator[Item]:
    with path.open("rb") as file:
        for crop in manifest.crops:
            clean, degraded = (
                None
                if packed is None
                else _entry(path, file.fileno(), archive, packed, manifest.crop_px)
                for packed in (crop.clean, crop.degraded)
            )
            assert clean is not None, "the manifest's type says so"
            yield Item(crop.clean.name, clean=clean, degraded=degraded)


def _entry(
    path: Path, descriptor: int, archive: zipfile.ZipFile, packed: PackedFile, crop_px: int
) -> PackEntry:
    try:
        member = archive.getinfo(packed.name)
    except KeyError as exc:
        raise PackCorrupt(path, f"{packed.name} is missing. Copy it again.") from exc
    # No encoding of a crop needs more than its own pixels and some headers.
    _require_stored(path, member, crop_px**2 * 4 + 65_536)
    header = os.pread(descriptor, _LOCAL_HEADER.size, member.header_offset)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_ZIP_MAGIC):
        raise PackCorrupt(path, f"{packed.name} is not where it should be. Copy it again.")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    offset = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    return PackEntry(path, offset, member.file_size, packed.sha256, crop_px)


def _require_stored(path: Path, member: zipfile.ZipInfo, largest_bytes: int) -> None:
    if member.compress_type != zipfile.ZIP_STORED:
        raise PackForeign(path, f"{member.filename} is compressed; a pack's members are not.")
    if member.file_size > largest_bytes:
        raise PackForeign(
            path,
            f"{member.filename} has {member.file_size} bytes, above {largest_bytes}. Not read.",
        )
