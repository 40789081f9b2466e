"""What of a file says where a task belongs: its list, its parent, its place among others, its start.

Tasks have none of these yet. This is the one place that decides what becomes of them; whoever gives tasks lists,
parents, positions or start dates makes it set them on the entry's task instead.
"""

from todo.backend.porting.entries import Entry, shown
from todo.domain.task import MAX_LABEL


def settle(entry: Entry) -> None:
    """Keep a list's name as a label, and report it; report the rest as lost."""
    if entry.list_name:
        label = " ".join(entry.list_name.split())[:MAX_LABEL]
        entry.labels = [*entry.labels, label]
        entry.lose("list", f"it is in the list {shown(entry.list_name)!r}", f"kept as the label {shown(label)!r}")
    if entry.parent:
        entry.lose("parent", f"it is a subtask of {shown(entry.parent)!r}", "imported as a task of its own")
    if entry.start is not None:
        entry.lose("start", f"it starts at {entry.start.isoformat()}", "left out")
    if entry.position:
        entry.lose("position", "it has a place of its own among the others", "left out")
