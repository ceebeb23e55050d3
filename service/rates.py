"""How often somebody may ask."""
from __future__ import annotations

import threading
import time

_CALLERS = 10_000  # whose rates are remembered


class Buckets:
    """Token buckets: a caller may ask as often as a minute allows, a minute's worth at once."""

    def __init__(self) -> None:
        self._levels: dict[str, tuple[float, float]] = {}  # caller -> (requests left, as of when)
        self._lock = threading.Lock()

    def take(self, caller: str, per_minute: int) -> float:
        """Counts one request; 0 when it may pass, else the seconds until one may."""
        now, rate = time.monotonic(), per_minute / 60
        with self._lock:
            left, when = self._levels.pop(caller, (float(per_minute), now))
            left = min(float(per_minute), left + (now - when) * rate)
            passes = left >= 1
            self._levels[caller] = (left - 1 if passes else left, now)
            if len(self._levels) > _CALLERS:
                self._levels.pop(next(iter(self._levels)))  # the one that asked least recently
        return 0.0 if passes else (1 - left) / rate
