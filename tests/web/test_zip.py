"""The archives that folders are downloaded as: read by other programs, beyond 4 GiB and 65,535 members as well."""

from __future__ import annotations

import json
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest
from web_reader import evaluate

from safehold.server.web_files import FOLDER

GIB = 1 << 30
MODULE = json.dumps(str(FOLDER / "browse" / "zip.js"))


def written(tmp_path: Path, members: str) -> Path:
    """An archive of these members, whose content is holes but for its last bytes; ``sizeOf`` must have said its size."""
    path = tmp_path / "made.zip"
    script = f"""
        import {{ closeSync, openSync, writeSync }} from 'node:fs';
        import * as zip from {MODULE};
        const members = {members};
        const file = openSync({json.dumps(str(path))}, 'w');
        let at = 0;
        let gathered = [];
        const flush = () => {{
          const bytes = Buffer.concat(gathered);
          gathered = [];
          writeSync(file, bytes, 0, bytes.length, at - bytes.length);
        }};
        const put = (bytes) => {{ gathered.push(bytes); at += bytes.length; }};
        const lines = [];
        for (const member of members) {{
          const content = new TextEncoder().encode(member.text ?? '');
          const crc = zip.crc32(content);
          lines.push(zip.line(member, crc, at));
          put(zip.head(member));
          if (member.size > content.length) flush();
          at += member.size - content.length;
          put(content);
          put(zip.foot(member, crc));
        }}
        const start = at;
        for (const line of lines) put(line);
        put(zip.end(members.length, start, at - start));
        flush();
        closeSync(file);
        console.log(at === zip.sizeOf(members) ? 'as foretold' : `${{at}} and not ${{zip.sizeOf(members)}}`);
    """
    assert evaluate(script, tmp_path) == "as foretold\n"
    return path


def test_beyond_four_gigabytes(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""[{{ name: 'a/', size: 0, seconds: 0, mode: 0o755 }},
             {{ name: 'a/huge', size: {5 * GIB}, seconds: 1800000000, mode: 0o600 }},
             {{ name: 'a/süß.txt', size: 5, seconds: -5, mode: 0o644, text: 'sweet' }},
             {{ name: 'a/edge', size: {4 * GIB - 1}, seconds: 1800000000, mode: 0o644 }},
             {{ name: 'a/below', size: {4 * GIB - 2}, seconds: 1800000000, mode: 0o644 }},
             {{ name: 'last', size: 4, seconds: 1800000000, mode: 0o644, text: 'last' }}]""",
    )
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        assert sizes == {"a/": 0, "a/huge": 5 * GIB, "a/süß.txt": 5, "a/edge": 4 * GIB - 1, "a/below": 4 * GIB - 2, "last": 4}
        assert archive.read("a/süß.txt") == b"sweet"
        assert archive.read("last") == b"last"
        assert archive.getinfo("a/huge").external_attr >> 16 == 0o100600
    for name, content in (("a/süß.txt", "sweet"), ("last", "last")):
        done = subprocess.run(
            ["bsdtar", "-xOf", str(path), name], capture_output=True, text=True, check=False, env={"LC_ALL": "C.UTF-8"}
        )
        assert (done.stdout, done.returncode) == (content, 0), done.stderr


def test_more_members_than_16_bits_count(tmp_path: Path) -> None:
    path = written(
        tmp_path, "Array.from({ length: 66000 }, (_, n) => ({ name: `n${n}`, size: 1, seconds: 0, mode: 0o644, text: 'x' }))"
    )
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == 66000
        assert archive.read("n65999") == b"x"


@pytest.mark.parametrize("data", [b"", b"a", b"123456789", bytes(range(256)) * 9 + b"abc"])
def test_crc(tmp_path: Path, data: bytes) -> None:
    script = f"import {{ crc32 }} from {MODULE}; const b = Buffer.from('{data.hex()}', 'hex'); console.log(crc32(b.subarray(7), crc32(b.subarray(0, 7))));"
    assert int(evaluate(script, tmp_path)) == zlib.crc32(data)


def test_names_stay_inside_and_apart(tmp_path: Path) -> None:
    names = [
        ["top", "a.txt"],
        ["top", "A.TXT"],
        ["top", "..\\..\\evil"],
        ["top", ".."],
        ["top", "C:"],
        ["top", "x\ny"],
        ["top", "a.txt"],
    ]
    script = f"import {{ Names }} from {MODULE}; const n = new Names(); console.log(JSON.stringify({json.dumps(names)}.map((p) => n.take(p, false))));"
    found = json.loads(evaluate(script, tmp_path))
    assert found == ["top/a.txt", "top/A (2).TXT", "top/.._.._evil", "top/_", "top/C_", "top/x_y", "top/a (3).txt"]
