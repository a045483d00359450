"""Backing up and restoring MariaDB, and MySQL.  ``docs/mariadb.md``."""
