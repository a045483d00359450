"""Plans: backups that run by themselves.  ``docs/plans.md``."""
