"""API keys: how one is made, what is kept of it, and which of several one is.

A key is 256 random bits, so its SHA-256 is all that has to be kept: nobody guesses 256 bits, and a
slow hash (scrypt), which protects what people choose, would only let strangers keep a CPU busy with
wrong keys. Keys are compared by their hashes, in constant time, with every key in use.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from service.errors import SettingsInvalid

__all__ = ["KeyHash", "KeyRing", "hash_of", "make_key", "parse_hashes"]

_LOGGER = logging.getLogger(__name__)
_PREFIX = "clearcall_"  # so that a scanner for secrets can find one
_KEY_BYTES = 32
_ENTRY = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]{1,32})=)?sha256:(?P<digest>[0-9a-fA-F]{64})")
_ID_CHARS = 16
_MAX_FILE_BYTES = 1_000_000
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class KeyHash:
    """What is kept of a key.

    Attributes:
        digest: SHA-256 of the key, 32 bytes.
        name: What logs call it: the operator's word, or the first half of `id`.
    """

    digest: bytes
    name: str

    @property
    def id(self) -> str:
        """16 hex digits that name the key and tell nothing of it."""
        return self.digest.hex()[:_ID_CHARS]


def make_key() -> str:
    """A new key: 256 random bits in base64, URL-safe, after `clearcall_`."""
    return _PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def hash_of(key: str, name: str = "") -> str:
    """What CLEARCALL_API_KEYS holds of a key: `sha256:HEX`, after `NAME=` if there is one."""
    entry = f"sha256:{_digest(key).hex()}"
    return f"{name}={entry}" if name else entry


def parse_hashes(text: str) -> tuple[KeyHash, ...]:
    """Reads hashes, separated by commas or line ends; from # to the line's end is a comment.

    Raises:
        ValueError: One is not of the form; it is not repeated, for it may be a key.
    """
    hashes = []
    lines = (line.partition("#")[0] for line in text.splitlines())
    entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
    for number, entry in enumerate(entries, 1):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError(
                f"entry {number} is not a hash like NAME=sha256:64 hex digits "
                "(make a key and its hash with 'clearcall key')"
            )
        digest = bytes.fromhex(match["digest"])
        hashes.append(KeyHash(digest, match["name"] or digest.hex()[: _ID_CHARS // 2]))
    return tuple(hashes)


class KeyRing:
    """The keys in use, some fixed and some in a file that is read again when it changes.

    A file that cannot be read, or holds something wrong, leaves the keys as they were, and says so
    in the log. Called from one thread.
    """

    def __init__(
        self, fixed: Iterable[KeyHash], file: Path | None, *, clock: Callable[[], float]
    ) -> None:
        """Reads the file.

        Raises:
            SettingsInvalid: It cannot be read, or holds something that is not a hash.
        """
        self._fixed = tuple(fixed)
        self._file = file
        self._clock = clock
        self._looked_s = clock()
        self._seen: object = None
        self._complaint = ""  # why the file could not be used at the last look
        self._filed: tuple[KeyHash, ...] = ()
        if file is not None:
            try:
                self._read(file)
            except (OSError, ValueError) as exc:
                raise SettingsInvalid(f"The keys in {file} cannot be used: {exc}.") from exc

    @property
    def is_on(self) -> bool:
        """Whether keys were set at all. An empty file is on too: it lets nobody in."""
        return bool(self._fixed) or self._file is not None

    def find(self, key: str) -> KeyHash | None:
        """The key in use that this is, if any."""
        digest = _digest(key)
        found = None
        for known in self._current():  # all of them: the time tells not which
            if hmac.compare_digest(known.digest, digest):
                found = known
        return found

    def with_id(self, key_id: str) -> KeyHash | None:
        """The key in use that has this id, if any."""
        return next((known for known in self._current() if known.id == key_id), None)

    def _current(self) -> tuple[KeyHash, ...]:
        now_s = self._clock()
        if self._file is not None and now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            try:
                if self._signature(self._file) != self._seen:
                    self._read(self._file)
                    _LOGGER.info("read the keys in %s anew: %d", self._file, len(self._filed))
            except (OSError, ValueError) as exc:
                if isinstance(exc, OSError):
                    self._seen = None  # it may be readable soon, without a trace in mtime or size
                if str(exc) != self._complaint:
                    _LOGGER.error("the keys in %s stay as they were: %s", self._file, exc)
                self._complaint = str(exc)
            else:
                self._complaint = ""
        return self._fixed + self._filed

    def _read(self, file: Path) -> None:
        self._seen = self._signature(file)  # before: what changes meanwhile is seen the next time
        if file.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"it is larger than {_MAX_FILE_BYTES} bytes")
        self._filed = parse_hashes(file.read_text("utf-8-sig"))

    @staticmethod
    def _signature(file: Path) -> tuple[int, ...]:
        facts = file.stat()
        return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
