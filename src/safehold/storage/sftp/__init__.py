"""A store in a folder of a machine that is reached by SFTP."""
