"""A session's figures: frames per second, now and on average, and the network's time."""

from __future__ import annotations

import threading
from collections import deque
from statistics import fmean, median, quantiles

__all__ = ["Meter"]

_RECENT_S = 2.0
_MAX_RECENT = 1000  # times, more than any camera gives in that time
_MAX_TIMES = 2000


class Meter:
    """Counts what is shown; thread-safe. The times are passed in, in seconds."""

    def __init__(self) -> None:
        self.frames = 0
        self._first_s = self._last_s = 0.0
        self._recent_s: deque[float] = deque(maxlen=_MAX_RECENT)
        self._inference_ms: deque[float] = deque(maxlen=_MAX_TIMES)
        self._lock = threading.Lock()

    def note(self, now_s: float, inference_ms: float | None) -> None:
        """Counts a frame; `inference_ms` is None where it was not sharpened."""
        with self._lock:
            if not self.frames:
                self._first_s = now_s
            self.frames += 1
            self._last_s = now_s
            self._recent_s.append(now_s)
            if inference_ms is not None:
                self._inference_ms.append(inference_ms)

    def fps(self, now_s: float) -> float:
        """Over the last two seconds."""
        with self._lock:
            while self._recent_s and self._recent_s[0] < now_s - _RECENT_S:
                self._recent_s.popleft()
            if len(self._recent_s) < 2:
                return 0.0
            span_s = max(self._recent_s[-1] - self._recent_s[0], 1e-9)
            return (len(self._recent_s) - 1) / span_s

    @property
    def average_fps(self) -> float:
        """From the first frame to the last."""
        with self._lock:
            span_s = self._last_s - self._first_s
            return (self.frames - 1) / span_s if span_s > 0 else 0.0

    @property
    def inference_ms(self) -> float | None:
        """The mean of the last frames."""
        with self._lock:
            recent = [*self._inference_ms][-30:]
        return fmean(recent) if recent else None

    def inference_quantiles_ms(self) -> dict[str, float]:
        """`p50` and `p95` of the last 2,000 frames; empty if none was sharpened."""
        with self._lock:
            times = [*self._inference_ms]
        if not times:
            return {}
        p95 = quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
        return {"p50": round(median(times), 2), "p95": round(min(p95, max(times)), 2)}
