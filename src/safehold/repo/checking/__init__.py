"""The parts of a check: each looks at one kind of object and adds to the findings."""
