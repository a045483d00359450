"""Our own server as a store: `https://HOST/ACCOUNT/REPOSITORY`.  ``docs/server.md``, "The store over HTTP"."""
