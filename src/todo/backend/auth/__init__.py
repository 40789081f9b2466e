"""Who calls the public API under TODO_AUTH=required, and what they may do."""
