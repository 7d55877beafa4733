"""The bar in the terminal: how far, how fast, how much longer; on stderr, if it is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from desktop.video.pipeline import Tally

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(
    name: str, tally: Tally, duration_s: float | None, *, is_shown: bool = True
) -> Iterator[Callable[[], None]]:
    """A function that brings the bar up to date with the tally.

    Args:
        name: of the file.
        duration_s: of the video, None = not known: then there is no time left.
        is_shown: False shows nothing, as where stderr is no terminal.
    """
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[frames]} frames"),
        TextColumn("{task.fields[fps]} FPS"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not (is_shown and console.is_terminal),
    )
    with progress:
        task = progress.add_task(name, total=duration_s, frames=0, fps="-")

        def update() -> None:
            elapsed_s = progress.tasks[0].elapsed or 0.0
            fps = f"{tally.frames / elapsed_s:.1f}" if elapsed_s and tally.frames else "-"
            progress.update(task, completed=tally.time_s, frames=tally.frames, fps=fps)

        yield update
