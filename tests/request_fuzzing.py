"""Requests made up by schemathesis."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from online_servers import Person, ServerInThread


def fuzzed(server: ServerInThread, who: Person) -> None:
    """Send it whatever its own description allows, as somebody; no answer may say that it failed."""
    headers = [f"Cookie: {who.headers['Cookie']}", "X-Safehold: 1"]
    words = ["--checks", "not_a_server_error", "--seed", "1", "--max-examples", "5", "--phases", "fuzzing", "--workers", "2"]
    words += ["--suppress-health-check", "all", "--request-timeout", "20", "--no-color"]
    for header in headers:
        words += ["--header", header]
    words += ["--exclude-path", "/api/v1/logout"]  # which would end the session
    (server.settings.data / "schemathesis.toml").write_text('[parameters]\n"path.account" = "anna"\n"path.name" = "home"\n')
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/api/v1/openapi.json", *words]
    environ = {name: text for name, text in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, check=False, cwd=server.settings.data, env=environ
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "not_a_server_error" in done.stdout or "passed" in done.stdout
