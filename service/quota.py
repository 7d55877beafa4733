"""Who asked how often, pure: token buckets by name, and how many streams each has open.

Names are keys' ids or addresses. The memory is bounded: beyond `_MAX_NAMES` the one that was seen
the longest ago is forgotten.
"""

from __future__ import annotations

import ipaddress
import math
from collections import Counter, OrderedDict

__all__ = ["Buckets", "Places", "address_group"]

_MAX_NAMES = 10_000
_IPV6_PREFIX = 64  # what one customer gets


class Buckets:
    """For each name a bucket that holds `per_minute`, and is filled at that rate."""

    def __init__(self, per_minute: float) -> None:
        """Args: per_minute: 0 lets everything through."""
        self._per_minute = per_minute
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, when

    def wait_s(self, name: str, now_s: float) -> float:
        """How long until one more fits; 0 if it does now. Takes nothing."""
        if not self._per_minute:
            return 0.0
        return max(0.0, (1 - self._level(name, now_s)) * 60 / self._per_minute)

    def take(self, name: str, now_s: float) -> None:
        """Takes one, if there is one."""
        if not self._per_minute:
            return
        level = max(0.0, self._level(name, now_s) - 1)
        self._levels[name] = (level, now_s)
        self._levels.move_to_end(name)
        if len(self._levels) > _MAX_NAMES:
            self._levels.popitem(last=False)

    def _level(self, name: str, now_s: float) -> float:
        level, at_s = self._levels.get(name, (self._per_minute, now_s))
        return min(self._per_minute, level + max(0.0, now_s - at_s) * self._per_minute / 60)

    def retry_after_s(self, name: str, now_s: float) -> int:
        """`wait_s` as a whole number for Retry-After, at least 1."""
        return max(1, math.ceil(self.wait_s(name, now_s)))


class Places:
    """How many things each name has open, at most `limit`; 0 = no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: Counter[str] = Counter()

    def enter(self, name: str) -> bool:
        """Takes a place; False if there is none."""
        if self.limit and self._open[name] >= self.limit:
            return False
        self._open[name] += 1
        return True

    def leave(self, name: str) -> None:
        """Gives it back."""
        self._open[name] -= 1
        if self._open[name] <= 0:
            del self._open[name]


def address_group(host: str | None) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)
