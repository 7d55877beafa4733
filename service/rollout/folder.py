"""The watched folder: its checkpoints, told apart by content, and in which order they came.

It is looked at again and again, since file events do not cross every mount. A file whose size,
times, inode and device are as before is not read again. One that changed is read when two looks in
a row found it the same and it is as long as its own header says. Its order is the look at which its
content appeared, so that the clock of whoever writes plays no part; only among files that appear
together the time of the last change decides, then the name.

Hidden files are left out: checkpoints are written under a hidden name and then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

__all__ = ["Folder", "Sighting", "sight_file"]

_SUFFIX = ".safetensors"
_MAX_FILES = 1_000
_LARGEST_FILE_BYTES = 512 * 1024 * 1024
_LARGEST_HEADER_BYTES = 16 * 1024 * 1024
# A change so soon after the last one may leave a coarse clock's times as they are.
_COARSE_CLOCK_S = 3.0

State = Literal["complete", "incomplete", "broken", "unreadable"]
_Signature = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One file of the folder.

    Attributes:
        name: In the folder.
        path: Of the file.
        size_bytes: How large it is.
        modified_s: When it was changed by its file system's clock, in seconds since 1970.
        state: `incomplete` may become complete yet, `broken` only by another change; `unreadable`
            is tried again.
        problem: Why it is not complete, or "".
        digest: SHA-256 of its content in hex, where it is complete.
        model_id: As the loaded model will have it, where it is complete.
        arrival: Goes up with every content that appears; 0 = none yet.
    """

    name: str
    path: Path
    size_bytes: int = 0
    modified_s: float = 0.0
    state: State = "incomplete"
    problem: str = ""
    digest: str = ""
    model_id: str = ""
    arrival: int = 0


@dataclass(slots=True)
class _Memory:
    """What is known of a file: how it looked, since when it looks like that, when it was read."""

    signature: _Signature
    changed_s: float
    sighting: Sighting
    read_s: float | None = None


def sight_file(path: Path) -> Sighting:
    """One file, wherever it lies."""
    seen = Sighting(path.name, path)
    try:
        return _read(seen, _signature_of(path), is_final=True)
    except OSError as exc:
        return replace(seen, state="unreadable", problem=_cannot_be_read(exc))


class Folder:
    """Looks at one folder. Not thread-safe; on a network mount its calls may block for long."""

    def __init__(
        self, path: Path, *, settle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is read yet.

        Args:
            path: Of the folder, which may not exist yet.
            settle_s: After so long without a change an incomplete file is taken as cut short.
            clock: Seconds, of this machine.
        """
        self.path = path
        self.problem = ""  # why the folder itself cannot be read, at the last look
        self._settle_s = settle_s
        self._clock = clock
        self._known: dict[str, _Memory] = {}
        self._arrivals = 0
        self._looks = 0

    def look(self) -> tuple[Sighting, ...]:
        """All checkpoints that are there now, the last arrival first."""
        now_s = self._clock()
        found = dict(self._entries())
        if self.problem and not found:  # what cannot be seen is not gone: nothing is forgotten
            self._looks += 1
            return ()
        self._follow_renamed(found)
        self._known = {name: memory for name, memory in self._known.items() if name in found}
        appeared: list[_Memory] = []
        for name, signature in found.items():
            memory = self._known.get(name)
            if memory is None or memory.signature != signature:
                before = memory.sighting if memory else Sighting(name, self.path / name)
                fresh = replace(
                    before, state="incomplete", problem="it is being written", model_id=""
                )
                memory = self._known[name] = _Memory(signature, now_s, fresh)
                if self._looks:  # what lies there at the start is taken as it is
                    continue
            if self._is_to_be_read(memory, now_s):
                before_digest = memory.sighting.digest
                memory.read_s = now_s
                is_final = now_s - memory.changed_s >= self._settle_s
                memory.sighting = _read(memory.sighting, memory.signature, is_final=is_final)
                if memory.sighting.digest not in ("", before_digest):
                    appeared.append(memory)
        appeared.sort(key=lambda memory: (memory.sighting.modified_s, memory.sighting.name))
        for memory in appeared:
            self._arrivals += 1
            memory.sighting = replace(memory.sighting, arrival=self._arrivals)
        self._looks += 1
        sightings = (memory.sighting for memory in self._known.values())
        return tuple(sorted(sightings, key=lambda each: (-each.arrival, each.name)))

    def _follow_renamed(self, found: dict[str, _Signature]) -> None:
        """A known file under another name has not arrived again."""
        gone = {
            _identity(memory.signature): memory
            for name, memory in self._known.items()
            if name not in found
        }
        for name in found.keys() - self._known.keys():
            if (memory := gone.pop(_identity(found[name]), None)) is not None:
                seen = replace(memory.sighting, name=name, path=self.path / name)
                # It is read again, for the inode may have been another file's.
                self._known[name] = replace(
                    memory, signature=found[name], sighting=seen, read_s=None
                )

    def _entries(self) -> Iterator[tuple[str, _Signature]]:
        self.problem = ""
        try:
            with os.scandir(self.path) as entries:
                names = [
                    entry.name
                    for entry in entries
                    if entry.name.endswith(_SUFFIX) and not entry.name.startswith(".")
                ]
        except OSError as exc:
            self.problem = f"the folder cannot be read ({exc.strerror or exc})"
            return
        if len(names) > _MAX_FILES:
            self.problem = f"of {len(names)} checkpoints only {_MAX_FILES} are looked at"
        for name in sorted(names)[-_MAX_FILES:]:
            try:
                yield name, _signature_of(self.path / name)
            except FileNotFoundError:  # gone meanwhile, or a link to nothing
                continue
            except OSError:  # a mount's error: it is as it was
                if name in self._known:
                    yield name, self._known[name].signature

    def _is_to_be_read(self, memory: _Memory, now_s: float) -> bool:
        if memory.read_s is None or memory.sighting.state in ("incomplete", "unreadable"):
            return True
        was_soon = memory.read_s - memory.changed_s < _COARSE_CLOCK_S
        return was_soon and now_s - memory.changed_s >= _COARSE_CLOCK_S


def _signature_of(path: Path) -> _Signature:
    found = path.stat()
    times = found.st_mtime_ns, found.st_ctime_ns
    return found.st_size, found.st_mode, *times, found.st_ino, found.st_dev


def _identity(signature: _Signature) -> _Signature:
    size_bytes, mode, modified_ns, _, *where = signature  # a rename is a change of ctime
    return size_bytes, mode, modified_ns, *where


def _read(seen: Sighting, signature: _Signature, *, is_final: bool) -> Sighting:
    """What the file is; with `is_final` one that is not complete will not become so."""
    size_bytes, mode, modified_ns, *_ = signature
    seen = replace(
        seen,
        size_bytes=size_bytes,
        modified_s=modified_ns / 1e9,
        problem="",
        digest="",
        model_id="",
    )
    if not stat.S_ISREG(mode):
        return replace(seen, state="broken", problem="it is not a file")
    if size_bytes > _LARGEST_FILE_BYTES:
        problem = f"{size_bytes / 1e6:.0f} MB is larger than any student"
        return replace(seen, state="broken", problem=problem)
    try:
        with seen.path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            start = file.read(min(length, _LARGEST_HEADER_BYTES))
            header, problem = _header(start, length, size_bytes)
            if problem:
                return replace(seen, state="broken" if is_final else "incomplete", problem=problem)
            file.seek(0)
            encoded = file.read(_LARGEST_FILE_BYTES)
    except OSError as exc:
        return replace(seen, state="unreadable", problem=_cannot_be_read(exc))
    digest = hashlib.sha256(encoded).hexdigest()
    model_id = f"{_name_in(header) or seen.path.stem}-{digest[:8]}"
    return replace(seen, state="complete", digest=digest, model_id=model_id)


def _cannot_be_read(exc: OSError) -> str:
    return f"it cannot be read ({exc.strerror or exc})"


def _header(start: bytes, length: int, size_bytes: int) -> tuple[dict[str, Any], str]:
    """A file's header, and what is wrong with the file's length; "" = it is complete."""
    if length > _LARGEST_HEADER_BYTES:
        return {}, "it is not a safetensors file"
    if size_bytes < 8 or len(start) < length:
        return {}, f"it is cut short: {size_bytes} bytes"
    try:
        header = json.loads(start)
        ends = [
            int(entry["data_offsets"][1])
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return {}, "it is not a safetensors file"
    whole_bytes = 8 + length + max(ends, default=0)
    if whole_bytes > size_bytes:
        return {}, f"it is cut short: {size_bytes} of {whole_bytes} bytes"
    if whole_bytes < size_bytes:
        return {}, f"it is longer than its header says: {size_bytes} instead of {whole_bytes} bytes"
    return header, ""


def _name_in(header: dict[str, Any]) -> str:
    try:
        name = json.loads(header["__metadata__"]["clearcall"])["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    is_name = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name)
    return name if is_name else ""
