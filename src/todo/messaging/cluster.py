"""Which database server this is: a copy restored elsewhere, or one that was failed over to, is another."""

from typing import Final

# A timeline begins with a promotion. The checkpoint that tells of it may come minutes later, so the WAL is asked.
CURRENT: Final = """
(SELECT system_identifier::text || '/' || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
 FROM pg_control_system())
"""
