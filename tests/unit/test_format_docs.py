"""``docs/format/`` and the code say the same: constants, structures, key derivations.

A module belongs to the format if its docstring names a page there.  Every constant and every structure of such a module is
in a table of the pages, or in a list here that says it is not stored.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

import safehold

DOCS = Path(__file__).parents[2] / "docs" / "format"
PAGES = {page.name: page.read_text("utf-8") for page in sorted(DOCS.glob("*.md"))}
SOURCES = Path(safehold.__file__).parent

NOT_STORED = {
    "codec.compression": {"DEFAULT_LEVEL"},
    "codec.job": {"Reader", "Taker", "T"},
    "codec.plan_letter": {"Receiver"},
    "codec.sealing": {"ZERO_NONCE"},
    "core.entries": {"KIND_NAMES"},
    "repo.config": {"KEYS", "KNOWN_FEATURES", "Stored"},
    "repo.envelopes": {"Opened"},
    "repo.index": {"FILTERED_FROM", "FILTERED_MOST", "SMALL"},
    "repo.packs": {"GUESS", "PackRecord", "PackTail"},
    "repo.paged": {"PAGE_SIZES", "CACHED_GROUPS"},
    "repo.seals": {"KIND_NAMES", "SessionKey"},
    "repo.segments": {"SealedSegment", "Sealer"},
    "repo.shards": {"ChunkPlace", "SegmentPlace"},
    "repo.contents": {"Piece"},
    "repo.snapshots": {"Stored"},
    "repo.sessions": {"RENEW_SECONDS", "EXPIRY_SECONDS", "OVERLAPPING", "SeenMark"},
    "repo.condemned": {"TRASH_NS", "Stored"},
    "repo.shares.keys": {"ShareKey"},
    "repo.shares.manifest": {"FIRST"},
    "repo.shares.records": {"GRACE_NS", "Stored"},
    "sources.sqlite.steps": {"Head", "Step"},
    "storage.volumes.frames": {"KINDS"},
    "storage.volumes.rows": {"SLICE", "ReadFrames"},
    "storage.volumes.discs.record": {"LIMIT", "Seal"},
}
"""What format modules hold that never reaches a store, or that a writer may choose freely."""

OTHERWISE = ("ops.", "core.errors", "repo.keys.format", "repo.prune.")
"""Modules that only mention a page; and the structures of keys, whose bytes ``golden/keys`` holds."""

IN_WORDS = {"repo.condemned": "condemned.md", "repo.sessions": "sessions.md"}
"""Pages that tell of their structures in words: they name every field."""


def _pages_of(text: str) -> set[str]:
    return set(re.findall(r"docs/format/([\w.]+\.md)", text))


def _modules() -> dict[str, ModuleType]:
    found = {}
    for info in pkgutil.walk_packages([str(SOURCES)], "safehold."):
        name = info.name.removeprefix("safehold.")
        path = SOURCES / (name.replace(".", "/") + ".py")
        if path.exists() and "docs/format/" in (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""):
            found[name] = importlib.import_module(info.name)
    return found


MODULES = _modules()
CHECKED = {name: module for name, module in MODULES.items() if not name.startswith(OTHERWISE)}


def _rows(header: str) -> list[tuple[str, str, list[str]]]:
    """(Page, nearest heading, cells) of every row of the tables that begin with ``header``."""
    found = []
    for page, text in PAGES.items():
        heading, inside = "", False
        for line in text.splitlines():
            if line.startswith("#"):
                heading = line
            if line.startswith(header):
                inside = True
            elif not line.startswith("|"):
                inside = False
            elif inside and not line.startswith("| ---"):
                found.append((page, heading, [cell.strip() for cell in line.strip("|").split(" | ")]))
    return found


def _constants() -> dict[str, str]:
    return {cells[0].strip("`"): cells[1].strip("`") for _, _, cells in _rows("| constant |")}


def _fields() -> dict[str, list[str]]:
    """Structure -> its wire names in the order of its table."""
    found: dict[str, list[str]] = {}
    for kind in ("| # |", "| key |"):
        for _, heading, cells in _rows(kind):
            named = re.search(r"`((?:core|codec|repo|storage)\.[\w.]+)`", heading)
            if named:
                wire = cells[1] if kind == "| # |" else f"{cells[0]}={cells[1]}"
                found.setdefault(named[1], []).append(wire.replace("`", ""))
    return found


def _members(name: str, module: ModuleType) -> dict[str, Any]:
    """The public constants and classes that a module defines itself."""
    tree = ast.parse((SOURCES / (name.replace(".", "/") + ".py")).read_text("utf-8"))
    own = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            own |= {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return {key: getattr(module, key) for key in own - NOT_STORED.get(name, set()) if not key.startswith("_")}


@pytest.mark.parametrize("name", CHECKED)
def test_every_constant_is_on_a_page(name: str) -> None:
    written = _constants()
    for key, value in _members(name, CHECKED[name]).items():
        if key.isupper() and name in IN_WORDS:
            assert f"`{value}" in PAGES[IN_WORDS[name]]
        elif key.isupper():
            text = written.get(f"{name}.{key}")
            assert text is not None, f"{name}.{key} is in no table of docs/format"
            if isinstance(value, struct.Struct):
                assert text == value.format
            else:
                assert ast.literal_eval(text) == value, f"{name}.{key}"


def test_every_written_constant_exists() -> None:
    for full in _constants():
        module, _, key = full.rpartition(".")
        assert hasattr(importlib.import_module(f"safehold.{module}"), key), full


@pytest.mark.parametrize("name", CHECKED)
def test_every_structure_is_on_a_page(name: str) -> None:
    written = _fields()
    for key, value in _members(name, CHECKED[name]).items():
        if not (isinstance(value, type) and issubclass(value, msgspec.Struct)):
            continue
        if name in IN_WORDS:
            missing = [field for field in value.__struct_encode_fields__ if f"`{field}`" not in PAGES[IN_WORDS[name]]]
            assert missing == []
        elif value.__struct_config__.array_like:
            assert written.get(f"{name}.{key}") == list(value.__struct_fields__), f"{name}.{key}"
        else:
            pairs = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            assert written.get(f"{name}.{key}") == [f"{wire}={field}" for wire, field in pairs], f"{name}.{key}"


def test_every_written_structure_exists() -> None:
    for full in _fields():
        module, _, key = full.rpartition(".")
        assert issubclass(getattr(importlib.import_module(f"safehold.{module}"), key), msgspec.Struct), full


def _literals() -> set[str]:
    """Every derivation, associated data and domain that the sources hold."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and node.value.startswith(b"safehold/1"):
                found.add(node.value.decode("ascii").rstrip("\0"))
    return found


def test_every_derivation_is_on_a_page() -> None:
    literals = _literals() - {"safehold/1 ", "safehold/1/"}
    assert len(literals) >= 7
    text = PAGES["README.md"] + PAGES["keys.md"] + (DOCS.parent / "server.md").read_text("utf-8")
    assert [literal for literal in sorted(literals) if f'"{literal}' not in text] == []


def test_every_page_named_by_the_code_exists_and_every_link_leads_somewhere() -> None:
    named = {page for module in MODULES.values() for page in _pages_of(module.__doc__ or "")}
    assert sorted(named - set(PAGES)) == []
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (DOCS / target).exists(), f"{page} links to {target}"
    assert [page for page in PAGES if page != "README.md" and f"({page})" not in PAGES["README.md"]] == []
