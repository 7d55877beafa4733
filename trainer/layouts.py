"""How published sets of blurred and sharp pictures lie in their folders.

A pair is found by its path: without the folders that tell the two sides apart (`blur`, `sharp`) and
the folders that tell the splits apart (`train`), both pictures have the same one.

| set | blurred | sharp |
|---|---|---|
| GoPro (Nah et al., CVPR 2017) | train/SCENE/blur, blur_gamma | train/SCENE/sharp |
| REDS (Nah et al., CVPRW 2019) | train_blur/train/train_blur/SEQUENCE, train_blur/SEQUENCE | ... |
| HIDE (Shen et al., ICCV 2019) | train | GT |
| simple | train/blurry, blurry, blur, input | train/sharp, sharp, target |

Pure: paths in, pairs out; no file is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.items import Item, PictureFile, Skipped

__all__ = ["PairLayout", "find_pairs"]

# In the order of preference: GoPro has two blurred versions of each sharp picture.
_BLURRED = ("blur", "blurry", "blurred", "input", "degraded", "blur_gamma")
_SHARP = ("sharp", "target", "clean", "gt")
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_ROLE = re.compile(rf"(?:(?P<split>train|val|test)_)?(?P<role>{'|'.join((*_BLURRED, *_SHARP))})")
_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PairLayout:
    """What was recognised.

    Attributes:
        name: for the user, with the split in use where there are several.
        pairs: sorted by name; the name is the sharp picture's path below the root.
        skipped: pictures without a partner.
    """

    name: str
    pairs: tuple[Item, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    """A picture and what its folders say about it."""

    path: Path
    relative: Path
    side: Literal["blurred", "sharp", "unknown"]
    role: str
    split: str
    key: _Key


def find_pairs(root: Path, paths: Sequence[Path]) -> PairLayout | None:
    """Recognises blurred and sharp pictures among `paths`, all of them below `root`.

    Where there is a training split, it alone is used: the others are for evaluation.

    Returns:
        None if no folder's name says that its pictures are blurred.

    Raises:
        FileNotFoundError: there are blurred pictures, but no sharp ones.
    """
    placed = [_place(path, root) for path in paths]
    sharp = [one for one in placed if one.side == "sharp"]
    blurred = [one for one in placed if one.side == "blurred"]
    unknown = [one for one in placed if one.side == "unknown"]
    is_hide = not blurred and any(one.role == "gt" for one in sharp)
    if is_hide:
        blurred, unknown = unknown, []
    if not blurred:
        return None
    if not sharp:
        raise FileNotFoundError(
            f"{root} holds blurred pictures, such as {blurred[0].relative}, and no sharp ones. "
            f"Expected is a folder {', '.join(_SHARP[:-1])} or {_SHARP[-1]} beside "
            f"{blurred[0].role!r}; for a folder of sharp pictures, give that folder another name."
        )
    split = _chosen_split(blurred)
    others = {_key(one, is_hide) for one in blurred if one.split != split}
    partners, doubled = _by_key((one for one in sharp if one.split in ("", split)), is_hide)
    inputs, doubled_inputs = _by_key((one for one in blurred if one.split == split), is_hide)
    skipped = [*doubled, *doubled_inputs]
    skipped += [
        Skipped(one.relative.as_posix(), "is in no folder of blurred or sharp pictures")
        for one in unknown
    ]
    skipped += _lonely(inputs, partners.keys(), "has no sharp partner")
    skipped += _lonely(partners, inputs.keys() | others, "has no blurred partner")
    pairs = [
        Item(
            partners[key].relative.as_posix(),
            clean=PictureFile(partners[key].path),
            degraded=PictureFile(inputs[key].path),
        )
        for key in inputs.keys() & partners.keys()
    ]
    name = _layout_name(is_hide, blurred, split)
    pairs.sort(key=lambda item: item.name)
    return PairLayout(name, tuple(pairs), tuple(sorted(skipped, key=lambda one: one.name)))


def _place(path: Path, root: Path) -> _Placed:
    relative = path.relative_to(root)
    side: Literal["blurred", "sharp", "unknown"] = "unknown"
    role = split = ""
    rest = []
    for folder in relative.parts[:-1]:
        word = folder.lower()
        match = _ROLE.fullmatch(word)
        if match is not None:
            role = match["role"]
            side = "blurred" if role in _BLURRED else "sharp"
            split = match["split"] or split
        elif word in _SPLITS:
            split = _SPLITS[word]
        else:
            rest.append(folder)
    return _Placed(path, relative, side, role, split, (*rest, path.stem))


def _chosen_split(blurred: Iterable[_Placed]) -> str:
    splits = {one.split for one in blurred}
    return next(split for split in ("train", "", "val", "test") if split in splits)


def _key(one: _Placed, is_hide: bool) -> _Key:
    """HIDE sorts its blurred pictures into folders, and its sharp ones not."""
    return one.key[-1:] if is_hide else one.key


def _by_key(placed: Iterable[_Placed], is_hide: bool) -> tuple[dict[_Key, _Placed], list[Skipped]]:
    """The pictures of one side; of two with one key, the preferred kind."""
    kept: dict[_Key, _Placed] = {}
    skipped = []
    for one in sorted(placed, key=lambda one: (_rank(one.role), one.relative)):
        first = kept.setdefault(_key(one, is_hide), one)
        if first is not one and first.role == one.role:
            reason = f"has the same name as {first.relative.as_posix()}"
            skipped.append(Skipped(one.relative.as_posix(), reason))
    return kept, skipped


def _rank(role: str) -> int:
    order = (*_BLURRED, *_SHARP)
    return order.index(role) if role in order else 0


def _lonely(side: Mapping[_Key, _Placed], others: Iterable[_Key], reason: str) -> list[Skipped]:
    known = set(others)
    return [
        Skipped(one.relative.as_posix(), reason) for key, one in side.items() if key not in known
    ]


def _layout_name(is_hide: bool, blurred: Sequence[_Placed], split: str) -> str:
    if is_hide:
        name = "HIDE layout"
    elif any(part.lower() in ("train_blur", "val_blur") for part in blurred[0].relative.parts):
        name = "REDS layout"
    elif len(blurred[0].key) > 1 and blurred[0].relative.parts[-2].lower() == blurred[0].role:
        name = "GoPro layout"
    else:
        name = "blurred and sharp folders"
    splits = {one.split for one in blurred}
    return f"{name}, {split} only" if len(splits) > 1 and split else name
