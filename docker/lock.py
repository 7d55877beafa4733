"""Writes docker/constraints.txt: the versions that are installed here of all that the images need.

    make lock

They are the versions that the tests ran with. Of torch the plain version is kept: which build of it
(CPU or CUDA) an image gets is a build argument, and what that build needs it pins by itself.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["locked"]

_EXTRAS = ("camera", "client", "heic", "otel", "scale", "trainer", "video")
_OF_TORCH = re.compile(r"nvidia-|triton|cuda-|setuptools$")
_TARGET = Path(__file__).parent / "constraints.txt"


def locked(root: str, extras: tuple[str, ...]) -> dict[str, str]:
    """Each distribution that `root` needs with these extras -> its installed version."""
    versions: dict[str, str] = {}
    waiting = [(root, extras)]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # of an extra that is not installed here
            continue
        if name != root:
            versions[name] = found.version.split("+")[0]
        waiting += _needs(found, wanted)
    return versions


def _needs(
    found: importlib.metadata.Distribution, extras: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for text in found.requires or ():
        need = Requirement(text)
        name = canonicalize_name(need.name)
        environments = [{"extra": extra} for extra in (*extras, "")]
        is_needed = need.marker is None or any(need.marker.evaluate(each) for each in environments)
        if is_needed and not _OF_TORCH.match(name):
            yield name, tuple(sorted(need.extras))


def main() -> None:
    """Writes the file."""
    versions = locked("clearcall", _EXTRAS)
    lines = [f"{name}=={versions[name]}\n" for name in sorted(versions)]
    _TARGET.write_text("# Made by `make lock`.\n" + "".join(lines))


if __name__ == "__main__":
    main()
