"""What comes of one frame of a stream: decoded, sharpened, encoded; or an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.codec_pool import CodecPool
from service.engine import EngineStream
from service.errors import (
    ClearcallError,
    EngineStopped,
    RequestInvalid,
    SharpeningFailed,
)
from service.frame_codec import decode_frame, encode_frame
from service.frames import Result, pack_result
from service.ladder import Rung
from service.ledger import DropReason
from service.metrics import StageTimes
from service.stream import Taken

__all__ = ["Answer", "answer_frame", "drop_reason", "pack_answer"]

_MAX_WEBP_SIDE_PX = 16_383


@dataclass(frozen=True, slots=True)
class Answer:
    """A sharpened picture and its times, or an error; done at `done_s`."""

    taken: Taken
    done_s: float
    size_px: tuple[int, int] = (0, 0)
    decode_ms: float = 0.0
    queue_ms: float = 0.0
    inference_ms: float = 0.0
    encode_ms: float = 0.0
    encoded: bytes = b""
    rung: Rung | None = None
    still_share: float = 0.0
    error: ClearcallError | None = None

    def times(self, now_s: float) -> StageTimes:
        """The stages; the total is until now."""
        return StageTimes(
            decode_ms=self.decode_ms,
            queue_ms=self.queue_ms,
            inference_ms=self.inference_ms,
            encode_ms=self.encode_ms,
            total_ms=(now_s - self.taken.arrived_s) * 1000,
        )


async def answer_frame(
    taken: Taken,
    *,
    place: EngineStream,
    pool: CodecPool,
    max_pixels: int,
    clock: Callable[[], float],
) -> Answer:
    """Works one frame through. What is wrong with it, or with the network, is in the answer.

    The frame has entered its place in the engine, which it leaves when it is sharpened.
    """
    settings = taken.settings
    try:
        try:
            decoded = await pool.run(decode_frame, taken.frame.encoded, max_pixels=max_pixels)
            height, width = decoded.value.shape[:2]
            if settings.format == "webp" and max(height, width) > _MAX_WEBP_SIDE_PX:
                raise RequestInvalid(
                    f"The frame is {width}x{height}, and WebP holds at most {_MAX_WEBP_SIDE_PX} "
                    "pixels a side. Ask for another format, or send a smaller frame."
                )
            sharpened = await place.sharpen(
                decoded.value,
                settings.strength,
                rung=taken.rung,
                reuses_still=settings.still_regions,
            )
        finally:
            place.leave()
        encoded = await pool.run(
            encode_frame, sharpened.image, settings.format, quality=taken.quality
        )
    except ClearcallError as exc:
        return Answer(taken, clock(), error=exc)
    return Answer(
        taken,
        clock(),
        size_px=(height, width),
        decode_ms=decoded.took_ms,
        queue_ms=(decoded.started_s - taken.arrived_s) * 1000 + sharpened.queue_ms,
        inference_ms=sharpened.inference_ms,
        encode_ms=encoded.took_ms,
        encoded=encoded.value,
        rung=Rung(sharpened.student, sharpened.scale),
        still_share=sharpened.still_share,
    )


def pack_answer(
    answer: Answer, times: StageTimes, *, student_code: int, frames_dropped: int
) -> bytes:
    """The binary message for a picture."""
    height, width = answer.size_px
    scale = 1.0 if answer.rung is None else answer.rung.scale
    return pack_result(
        Result(
            sequence=answer.taken.sequence,
            client_timestamp_ms=answer.taken.frame.client_timestamp_ms,
            width_px=width,
            height_px=height,
            frames_dropped=frames_dropped,
            queue_ms=times.queue_ms,
            decode_ms=times.decode_ms,
            inference_ms=times.inference_ms,
            encode_ms=times.encode_ms,
            total_ms=times.total_ms,
            format=answer.taken.settings.format,
            encoded=answer.encoded,
            student_code=student_code,
            scale_percent=round(scale * 100),
            still_percent=round(answer.still_share * 100),
        )
    )


def drop_reason(error: ClearcallError) -> DropReason:
    """What a frame that is answered with this error counts as."""
    match error:
        case SharpeningFailed():
            return "failed"
        case EngineStopped():
            return "stopping"
    return "broken"
