"""One thin module per command, imported when the command is called.

Each has a docstring (the description in its help), ``USAGE``, ``EXAMPLES``, ``STATUSES`` (what it may end with besides the common
ones), ``arguments(parser)`` and ``run(call)``, which returns the exit status.
"""
