"""Mean opinion scores from ratings files of a blind rating page (see `mos_page`).

Scores are those of ITU-T P.910's ACR with hidden reference: MOS is the mean grade, 5 excellent to
1 bad. DMOS is the mean of differential scores DV = V(stimulus) - V(reference of its scene) + 5,
taken rater by rater and picture by picture, so 5 is "as good as the reference" and more is better
than it; such scores are kept as they are.

Raters are the sample: a rater's grades for a method are averaged over the pictures first, and the
confidence interval is Student's t over these means. It says what other raters would have said of
the same pictures, and a rater who grades many pictures does not make it narrower than they should.
One rater has no interval.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.markup import escape
from rich.table import Table
from scipy import stats  # type: ignore[import-untyped]

from trainer.mos_page import RatingKey, RatingPage, write_rating_page

__all__ = [
    "MethodOpinion",
    "OpinionSummary",
    "PictureOpinion",
    "RatingPage",
    "RatingsInvalidError",
    "opinion_json",
    "opinion_table",
    "summarise_ratings",
    "write_rating_page",
]

_CONFIDENCE = 0.95
_GOOD = 4
_TOP = 5
_LARGEST_SHARE_BELOW_GOOD = 0.25
_LARGEST_FILE_BYTES = 16 * 1024 * 1024

_Model = TypeVar("_Model", bound=BaseModel)
# grade by rater (session), method and picture
_Grades = dict[str, dict[str, dict[str, int]]]


class RatingsInvalidError(ValueError):
    """A ratings or key file that is damaged, foreign or incomplete."""


class _Rating(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    stimulus: str
    grade: int = Field(ge=1, le=5, strict=True)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    whole: bool


class _Window(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    width: float
    height: float
    pixel_ratio: float


class _Ratings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["clearcall-ratings"]
    version: Literal[1]
    study: str
    session: str = Field(min_length=1, max_length=64)
    started: str
    finished: str
    window: _Window
    ratings: tuple[_Rating, ...]


@dataclass(frozen=True, slots=True)
class MethodOpinion:
    """One method's scores; an interval is `mos` or `dmos` plus and minus `_ci95`.

    The reference's DMOS is 5 by definition; intervals are None for a single rater.
    """

    method: str
    is_reference: bool
    ratings: int
    mos: float
    mos_ci95: float | None
    dmos: float
    dmos_ci95: float | None


@dataclass(frozen=True, slots=True)
class PictureOpinion:
    """One method's mean grade for one picture."""

    method: str
    picture: str
    mos: float
    dmos: float


@dataclass(frozen=True, slots=True)
class OpinionSummary:
    """Methods from best to worst MOS; `rejected` says why of each session that was left out.

    `cut_off` counts the kept ratings that were given while the picture did not fit the window.
    """

    study: str
    raters: int
    rejected: Mapping[str, str]
    cut_off: int
    methods: tuple[MethodOpinion, ...]
    pictures: tuple[PictureOpinion, ...]


def summarise_ratings(
    ratings_files: Sequence[Path], key_file: Path, *, is_rejecting: bool = False
) -> OpinionSummary:
    """Scores by method from the ratings files of one page.

    Args:
        ratings_files: as the page saves them, one a rater, each complete.
        key_file: the page's key.
        is_rejecting: leave out raters who grade more than a quarter of the hidden references below
            4 (good). P.910 wants references of good quality at least, so a rater who often finds
            them less was inattentive or took the scale the wrong way round.

    Raises:
        FileNotFoundError: a file is not there, or none was named.
        RatingsInvalidError: a file is damaged, of another page, incomplete, or there twice; or
            every rater was rejected.
    """
    if not ratings_files:
        raise FileNotFoundError("No ratings file was named. Pass those that raters downloaded.")
    key = _parse(RatingKey, key_file, "the key of a rating page")
    grades: _Grades = {}
    cut_off: dict[str, int] = {}
    for path in ratings_files:
        ratings = _read_ratings(path, key)
        if ratings.session in grades:
            raise RatingsInvalidError(
                f"{path}: session {ratings.session} is there twice. Pass each file once."
            )
        grades[ratings.session] = _by_method(ratings, key)
        cut_off[ratings.session] = sum(not rating.whole for rating in ratings.ratings)
    rejected = _rejected(grades, key.reference) if is_rejecting else {}
    kept = {session: given for session, given in grades.items() if session not in rejected}
    if not kept:
        raise RatingsInvalidError(
            "Every rater graded more than a quarter of the hidden references below 4: the "
            "references are not good enough to measure against, or the key is not of this page."
        )
    return OpinionSummary(
        study=key.study,
        raters=len(kept),
        rejected=rejected,
        cut_off=sum(cut_off[session] for session in kept),
        methods=_method_opinions(kept, key.reference),
        pictures=_picture_opinions(kept, key.reference),
    )


def _read_ratings(path: Path, key: RatingKey) -> _Ratings:
    ratings = _parse(_Ratings, path, "a ratings file")
    if ratings.study != key.study:
        raise RatingsInvalidError(
            f"{path} belongs to rating page {ratings.study}, the key to {key.study}. "
            "Pass the key that was written with this rater's page."
        )
    names = [rating.stimulus for rating in ratings.ratings]
    twice = sorted({name for name in names if names.count(name) > 1})
    unknown, missing = sorted(set(names) - key.stimuli.keys()), key.stimuli.keys() - set(names)
    for what, found in (("rates twice", twice), ("rates what is not in the key:", unknown)):
        if found:
            raise RatingsInvalidError(
                f"{path} {what} {', '.join(found[:3])}. Have it downloaded from the page again."
            )
    if missing:
        raise RatingsInvalidError(
            f"{path} lacks {len(missing)} of {len(key.stimuli)} ratings. "
            "Have the rater finish, and download it again."
        )
    return ratings


def _parse(model: type[_Model], path: Path, what: str) -> _Model:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Name {what}.")
    if path.stat().st_size > _LARGEST_FILE_BYTES:
        raise RatingsInvalidError(f"{path} is far too large for {what}.")
    try:
        return model.model_validate(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as exc:
        reason = str(exc)
        if isinstance(exc, ValidationError):
            first = exc.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            reason = f"{where}: {first['msg']}" if where else first["msg"]
        raise RatingsInvalidError(f"{path} is not {what} as it was written ({reason}).") from exc


def _by_method(ratings: _Ratings, key: RatingKey) -> dict[str, dict[str, int]]:
    grades: dict[str, dict[str, int]] = {}
    for rating in ratings.ratings:
        stimulus = key.stimuli[rating.stimulus]
        grades.setdefault(stimulus.method, {})[stimulus.picture] = rating.grade
    return grades


def _rejected(grades: _Grades, reference: str) -> dict[str, str]:
    rejected = {}
    for session, given in grades.items():
        hidden = list(given[reference].values())
        below = sum(grade < _GOOD for grade in hidden)
        if below > _LARGEST_SHARE_BELOW_GOOD * len(hidden):
            rejected[session] = f"graded {below} of {len(hidden)} hidden references below {_GOOD}"
    return rejected


def _method_opinions(grades: _Grades, reference: str) -> tuple[MethodOpinion, ...]:
    opinions = []
    for method in next(iter(grades.values())):
        means, differences = [], []
        for given in grades.values():
            means.append(float(np.mean(list(given[method].values()))))
            differences.append(
                float(np.mean([_difference(given, method, p, reference) for p in given[method]]))
            )
        mos, mos_ci95 = _mean_and_ci95(means)
        dmos, dmos_ci95 = _mean_and_ci95(differences)
        count = sum(len(given[method]) for given in grades.values())
        opinions.append(
            MethodOpinion(method, method == reference, count, mos, mos_ci95, dmos, dmos_ci95)
        )
    return tuple(sorted(opinions, key=lambda opinion: (-opinion.mos, opinion.method)))


def _picture_opinions(grades: _Grades, reference: str) -> tuple[PictureOpinion, ...]:
    first = next(iter(grades.values()))
    return tuple(
        PictureOpinion(
            method,
            picture,
            float(np.mean([given[method][picture] for given in grades.values()])),
            float(np.mean([_difference(g, method, picture, reference) for g in grades.values()])),
        )
        for method in sorted(first)
        for picture in sorted(first[method])
    )


def _difference(
    given: Mapping[str, Mapping[str, int]], method: str, picture: str, reference: str
) -> int:
    """P.910's differential viewer score of one rating."""
    return given[method][picture] - given[reference][picture] + _TOP


def _mean_and_ci95(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and half of its confidence interval; None for one value."""
    mean = float(np.mean(values))
    count = len(values)
    if count < 2:
        return mean, None
    quantile = float(stats.t.ppf((1 + _CONFIDENCE) / 2, count - 1))
    return mean, quantile * float(np.std(values, ddof=1)) / count**0.5


def opinion_table(summary: OpinionSummary) -> Table:
    """Methods from best to worst, MOS and DMOS with their 95 % confidence intervals."""
    rejected = f", {len(summary.rejected)} rejected" if summary.rejected else ""
    table = Table(title=f"{summary.raters} raters{rejected}; mean and 95 % confidence interval")
    table.add_column("method")
    for name in ("ratings", "MOS", "DMOS"):
        table.add_column(name, justify="right")
    for opinion in summary.methods:
        name = escape(opinion.method)
        table.add_row(
            f"{name} (hidden reference)" if opinion.is_reference else name,
            str(opinion.ratings),
            _interval(opinion.mos, opinion.mos_ci95),
            "5" if opinion.is_reference else _interval(opinion.dmos, opinion.dmos_ci95),
        )
    return table


def _interval(mean: float, half: float | None) -> str:
    return f"{mean:.2f}" if half is None else f"{mean:.2f} ± {half:.2f}"


def opinion_json(summary: OpinionSummary) -> dict[str, Any]:
    """The summary for programs and for the report."""
    return {
        **asdict(summary),
        "method": "ITU-T P.910 ACR-HR; DMOS = V(stimulus) - V(reference) + 5; Student's t over "
        f"raters, {_CONFIDENCE:.0%}",
    }
