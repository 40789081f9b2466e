"""Backup and restore of what cannot be made again: the schemas of backend and of notification-service.

`archive` is the file, `taking` fills it from one snapshot, `restoring` reads it into schemas of their own and swaps
them in, `place` finds the database.
"""
