"""Pages whose blocks take seconds are pasted in every run of the tests, here; the others by `make docs-tried`, on a fresh machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from blocks import Block, blocks_of, missing, pattern_of
from shells import Shell

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.skipif(sys.platform == "win32", reason="the pages' commands are for a shell")
@pytest.mark.parametrize("page", ["sqlite.md", "plans.md", "blu-ray.md", "floppies.md", "discs.md"])
def test_a_page(tmp_path: Path, page: str) -> None:
    _try(tmp_path, page)


@pytest.mark.skipif(sys.platform != "linux", reason="its drives are mounted in a namespace of their own")
def test_flash_drives(tmp_path: Path) -> None:
    _try(tmp_path, "flash-drives.md", "unshare", "--mount", "--propagation", "private")


def _try(tmp_path: Path, page: str, *around: str) -> None:
    home, exchange = tmp_path / "home", tmp_path / "exchange"
    home.mkdir()
    exchange.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = Shell([*around, "env", "-i", f"HOME={home}", f"PATH={path}", "TERM=dumb", "bash", "--norc"], exchange, str(exchange))
    try:
        for block in blocks_of(DOCS / page):
            done, output = shell.run(block.commands, 60)
            assert done and missing(block.shown, output) is None, f"{block.page}:{block.line}\n{output}"
    finally:
        shell.close()


def test_a_page_s_blocks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- tried: as=me\nhidden\n-->\n```sh\nnot tried\n```\n\n```sh tried as=you\na\n\nb\n```\n```text shown\none\ntwo\n```\n"
    )
    assert blocks_of(page) == [
        Block("page.md", 1, "me", "hidden\n"),
        Block("page.md", 8, "you", "a\n\nb\n", ("one", "two")),
    ]


def test_numbers_and_ids_may_differ_and_words_may_not() -> None:
    assert pattern_of("Snapshot 80ea76f3 made").search("Snapshot deadbee1 made")
    assert pattern_of("Read: 111 MiB of 1,111 B in ... files").search("Read: 9.5 KiB of 2 GiB in 4,360 files")
    assert not pattern_of("Snapshot 80ea76f3 made").search("Snapshot 80ea76f3 lost")
    assert missing(("b", "a"), "a\nb\n") == "a" and missing(("a", "b"), "a\nx\nb\n") is None
