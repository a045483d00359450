"""People, organisations, passwords, second factors, browser sessions and tokens."""
