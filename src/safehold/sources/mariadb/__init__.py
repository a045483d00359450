"""MariaDB, and MySQL: its servers, programs, streams and binary logs.  ``docs/mariadb.md``."""
