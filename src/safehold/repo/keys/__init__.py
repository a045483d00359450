"""Who may do what: key slots, epochs of the read key, retirements (``docs/format/keys.md``)."""
