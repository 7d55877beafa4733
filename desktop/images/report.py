"""What is told: a bar while it lasts, JSON lines, and at the end what failed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from desktop.images.conversion import Done
from desktop.images.finding import Missed
from desktop.names import printable

__all__ = ["Report"]


class Report:
    """Counts outcomes and tells them: results on stdout, all else on stderr."""

    def __init__(self, *, is_json: bool, is_verbose: bool, is_silent: bool) -> None:
        """How to tell.

        Args:
            is_json: A line for each picture and a summary, on stdout.
            is_verbose: A line for each picture on stderr.
            is_silent: Nothing on stdout, since the picture goes there.
        """
        self._is_json = is_json
        self._is_verbose = is_verbose
        self._is_silent = is_silent
        self._progress: Progress | None = None
        self.done: list[Done] = []
        self.missed: list[Missed] = []

    @contextmanager
    def bar(self, total: int) -> Iterator[None]:
        """Shows a bar within, where stderr is a terminal."""
        console = Console(stderr=True)
        progress = Progress(
            TextColumn("pictures"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # Lines of JSON go to stdout as they are, also where it is a pipe.
            redirect_stdout=False,
        )
        with progress:
            progress.add_task("", total=total, failed="")
            self._progress = progress
            try:
                yield
            finally:
                self._progress = None

    def note(self, outcome: Done | Missed) -> None:
        """Takes one picture's outcome."""
        if isinstance(outcome, Done):
            self.done.append(outcome)
        else:
            self.missed.append(outcome)
        if self._is_json:
            print(json.dumps(_fields(outcome)), flush=True)
        if self._is_verbose and isinstance(outcome, Done):
            self._line(f"{printable(outcome.place.name)} -> {_in_words(outcome)}")
        if self._progress is not None:
            failed = f"{len(self.missed)} failed" if self.missed else ""
            self._progress.update(self._progress.task_ids[0], advance=1, failed=failed)

    def end(self, seconds: float, *, is_interrupted: bool) -> None:
        """Tells the warnings, what failed, and the sum."""
        for done in self.done:
            for warning in done.warnings:
                self._line(f"clearcall: {printable(done.place.name)}: {warning}")
        for missed in self.missed:
            self._line(f"clearcall: {printable(missed.name)}: {missed.reason}")
        if is_interrupted:
            self._line("clearcall: interrupted; what is done is whole, nothing else was written")
        if self._is_json:
            summary = {
                "done": len(self.done),
                "failed": len(self.missed),
                "seconds": round(seconds, 3),
                "interrupted": is_interrupted,
            }
            print(json.dumps({"summary": summary}), flush=True)
        elif not self._is_silent and self.done:
            _print_out([self._sum(seconds)])

    def _sum(self, seconds: float) -> str:
        if len(self.done) == 1 and not self.missed:
            return f"{_in_words(self.done[0])}, {seconds:.1f} s"
        failed = f", {len(self.missed)} failed" if self.missed else ""
        pictures = "picture" if len(self.done) == 1 else "pictures"
        return f"{len(self.done)} {pictures} done{failed}; {seconds:.1f} s"

    def _line(self, text: str) -> None:
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr)


def _print_out(lines: Iterable[str]) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _in_words(done: Done) -> str:
    to = "stdout" if done.place.output is None else printable(done.place.output)
    return (
        f"{to}: {done.width}x{done.height} {done.format}, {done.network_ms:.0f} ms in the network"
    )


def _fields(outcome: Done | Missed) -> dict[str, object]:
    if isinstance(outcome, Missed):
        return {"input": printable(outcome.name), "status": "failed", "error": outcome.reason}
    place = outcome.place
    return {
        "input": printable(place.name),
        "status": "done",
        "output": None if place.output is None else printable(place.output),
        "compare": None if place.compare is None else printable(place.compare),
        "width": outcome.width,
        "height": outcome.height,
        "format": outcome.format,
        "bytes": outcome.bytes,
        "network_ms": round(outcome.network_ms, 2),
        "total_ms": round(outcome.total_ms, 2),
        "warnings": list(outcome.warnings),
    }
