"""The demonstration as a person reads it."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from todo.cli import show
from todo.operations.demo import Story, Timeline


def tell(story: Story) -> RenderableType:
    """The timelines, the verdict, and what is missing."""
    parts: list[RenderableType] = []
    for timeline in story.timelines:
        parts += ["", Text.assemble((show.plain(timeline.title), "bold"), f"  {timeline.task_id}"), _moments(timeline)]
    parts += ["", show.report(story.report)] if story.report else [""]
    parts += [Text(f"missing: {show.plain(one)}", style="red") for one in story.missing]
    parts += [Text(show.plain(one), style="dim") for one in story.troubles]
    ending = "everything happened once" if story.complete else "not everything happened"
    style = "bold green" if story.complete else "bold red"
    return Group(*parts, Text(f"{ending}, in {story.seconds:.1f} s", style=style))


def _moments(timeline: Timeline) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for place, moment in enumerate(timeline.moments):
        before = timeline.moments[max(0, place - 1)].at
        step = f"+{(moment.at - before).total_seconds() * 1000:,.0f} ms"
        table.add_row(
            f"{moment.at:%H:%M:%S.%f}"[:-3], Text(step, justify="right"), moment.what, Text(moment.detail, "dim")
        )
    return table
