"""How many files the process may have open, and so how many connections."""

from __future__ import annotations

import contextlib
import logging

__all__ = ["connections_that_fit"]

_LOGGER = logging.getLogger(__name__)
_OTHER_FILES = 128  # libraries, sockets that listen, pictures that are read
_LEAST = 8


def connections_that_fit(wanted: int) -> int:
    """Raises the limit on open files as far as that is allowed and needed.

    Returns:
        `wanted`, or as many connections as there may be: without a free file none is accepted, and
        nobody learns why.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with contextlib.suppress(OSError, ValueError):  # some systems have another bound beside it
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    fitting = max(_LEAST, min(wanted, soft - _OTHER_FILES))
    if fitting < wanted:
        _LOGGER.warning(
            "at most %d files may be open (ulimit -n), so at most %d connections, not %d "
            "(CLEARCALL_MAX_CONNECTIONS)",
            soft,
            fitting,
            wanted,
        )
    return fitting
