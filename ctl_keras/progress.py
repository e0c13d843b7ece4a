"""Progress on stderr, so that stdout stays data."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")

console = Console(stderr=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(
            ""
            if speed is None
            else f"{speed:.3g} a second"
            if speed >= 0.1
            else f"{1 / speed:.3g} seconds each"
        )


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Yields `items` behind a progress bar with rate and remaining time; silent where stderr is no
    terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        yield from progress.track(items, total=total, description=description)
