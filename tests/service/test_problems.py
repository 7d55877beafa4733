"""service.problems: errors as problem documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import errors
from service.errors import (
    AccessRefused,
    CheckpointError,
    ClearcallError,
    EngineBusy,
    FrameInvalid,
    ImageBroken,
    ImageTooManyPixels,
    ImageUnsupported,
    KeyStreamsFull,
    OriginRefused,
    QueueFull,
    RateExceeded,
    StreamsFull,
    UploadTooLarge,
    UploadTooSlow,
    WrongKeysBraked,
)
from service.problems import describe_problems, problem_for


def leaves(kind: type[ClearcallError] = ClearcallError) -> Iterator[type[ClearcallError]]:
    """The service's; the commands for files and cameras have some of their own."""
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from leaves(child) if child.__subclasses__() else (child,)


def instance(kind: type[ClearcallError]) -> ClearcallError:
    if issubclass(kind, CheckpointError):
        return kind(Path("student.safetensors"), "it is cut off")
    by_hand: dict[type[ClearcallError], ClearcallError] = {
        ImageTooManyPixels: ImageTooManyPixels(height=10_000, width=20_000, limit_px=50_000_000),
        UploadTooLarge: UploadTooLarge(limit_bytes=20_000_000),
        UploadTooSlow: UploadTooSlow(limit_s=60),
        QueueFull: QueueFull(limit=8, retry_after_s=3),
        StreamsFull: StreamsFull(limit=16),
        EngineBusy: EngineBusy(limit_px_per_s=10**8, load_px_per_s=1.2e8, retry_after_s=5),
        OriginRefused: OriginRefused("https://evil.example"),
        WrongKeysBraked: WrongKeysBraked(retry_after_s=6),
        RateExceeded: RateExceeded(limit_per_minute=10, retry_after_s=6),
        KeyStreamsFull: KeyStreamsFull(limit=2),
        FrameInvalid: FrameInvalid("not a frame", sequence=3),
    }
    if issubclass(kind, AccessRefused) and kind not in by_hand:
        return kind()
    return by_hand.get(kind) or kind("it went wrong")


@pytest.mark.parametrize("kind", list(leaves()))
def test_every_leaf_becomes_a_complete_problem(kind: type[ClearcallError]) -> None:
    response = problem_for(instance(kind))
    problem = json.loads(bytes(response.body))
    assert response.headers["content-type"] == "application/problem+json"
    assert response.status_code == problem["status"] == kind.http_status
    assert problem["code"] == kind.code
    assert problem["type"].endswith(f":{kind.code}")
    assert problem["title"]
    assert problem["detail"]


@pytest.mark.parametrize("kind", list(leaves()))
def test_every_leaf_has_a_code_of_its_own_a_legal_close_code_and_a_place_in_the_tree(
    kind: type[ClearcallError],
) -> None:
    assert [leaf.code for leaf in leaves()].count(kind.code) == 1
    assert kind.close_code in {1003, 1007, 1008, 1009, 1011, 1013}
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__
    assert kind.__name__ in errors.__all__


def test_a_full_queue_says_when_to_come_back() -> None:
    response = problem_for(QueueFull(limit=8, retry_after_s=3))
    assert response.headers["retry-after"] == "3"
    assert "Try again in 3 s" in json.loads(bytes(response.body))["detail"]


def test_errors_of_one_status_share_its_entry_in_the_description() -> None:
    described = describe_problems(ImageBroken, ImageTooManyPixels, ImageUnsupported)
    assert set(described) == {422, 415}
    assert "image-broken" in described[422]["description"]
    assert "image-too-many-pixels" in described[422]["description"]
    assert "application/problem+json" in described[415]["content"]
