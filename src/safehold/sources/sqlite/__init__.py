"""SQLite: its files, a pinned moment of a database that is in use, following its WAL.  ``docs/sqlite.md``.

A process that has a database open through SQLite must never open and close the file or its ``-shm`` by itself: POSIX drops all
of a process's locks on a file when any descriptor of it is closed.  So locks are held by processes of their own (``holder``,
``follower``), which read by descriptors that they never close, and the others read by descriptors and never use SQLite on it.
"""
