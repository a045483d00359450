"""Labels to print: a page of HTML, a card for each volume, which any browser prints or keeps as PDF."""

from __future__ import annotations

import html
import io
from datetime import UTC, datetime

import segno

from safehold.storage.volumes.burning.plan import burned_of
from safehold.storage.volumes.catalogue import Volume, VolumeSet

_STYLE = """
@page { margin: 12mm }
body { font: 10.5pt/1.35 system-ui, sans-serif; color: #000; background: #fff; margin: 0 }
.cards { display: flex; flex-wrap: wrap; gap: 6mm }
.card { box-sizing: border-box; width: 120mm; height: 118mm; border: .3mm solid #000; padding: 6mm;
  break-inside: avoid; position: relative }
.small .card { width: 70mm; height: 72mm; padding: 4mm; font-size: 8pt }
h1 { font-size: 1.9em; line-height: 1.1; margin: 0 }
.number { font-size: 1.25em; margin: .2em 0 .6em }
table { border-collapse: collapse }
th { text-align: left; font-weight: normal; color: #444; padding-right: 1em; vertical-align: top }
svg { position: absolute; right: 6mm; bottom: 6mm; width: 30mm; height: 30mm }
.small svg { right: 4mm; bottom: 4mm; width: 18mm; height: 18mm }
.how { position: absolute; left: 6mm; bottom: 6mm; width: 70mm; margin: 0; font-size: .85em }
.small .how { left: 4mm; bottom: 4mm; width: 40mm }
"""


def labels(volume_set: VolumeSet, volumes: list[Volume], contents: dict[str, dict[str, int]], count: int) -> str:
    """The page.  ``contents``: UUID -> how many objects of each kind; ``count``: volumes of the set."""
    small = " small" if volume_set.media.startswith("floppy") else ""
    cards = "\n".join(_card(volume_set, each, contents.get(each.uuid, {}), count) for each in volumes)
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>Labels of {html.escape(volume_set.name)}</title>'
        f"<style>{_STYLE}</style></head>\n"
        f'<body class="cards{small}">\n{cards}\n</body></html>\n'
    )


def code_of(volume_set: VolumeSet, volume: Volume) -> str:
    """What the QR code says."""
    return f"safehold:volume?set={volume_set.id}&volume={volume.uuid}&number={volume.number}"


def _card(volume_set: VolumeSet, volume: Volume, contents: dict[str, int], count: int) -> str:
    rows = [
        ("Set", volume_set.name),
        ("Kept in", volume.place),
        ("Written", _day(volume.written_ns)),
        ("Read back", _day(volume.verified_ns) if burned_of(volume).copies else ""),
        ("Holds", "parity: replaces lost volumes" if volume.parity else _holds(contents)),
        (
            "Parity",
            ", ".join(
                filter(
                    None,
                    (f"inside {volume_set.inner}" * bool(volume_set.inner), volume_set.parity and f"across {volume_set.parity}"),
                )
            ),
        ),
        ("Generation", str(volume.generation) if volume.generation > 1 else ""),
    ]
    table = "".join(f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in rows if value)
    return (
        f'<section class="card"><h1>{html.escape(volume.label)}</h1>'
        f'<p class="number">{volume.number} of {count}</p><table>{table}</table>'
        f'<p class="how">Safehold backup, encrypted.<br>'
        f"Restore: pip install safehold; safehold volumes recover<br>{volume.uuid[:8]}</p>"
        f"{_square(code_of(volume_set, volume))}</section>"
    )


def _holds(contents: dict[str, int]) -> str:
    packs, snapshots = contents.get("packs", 0), contents.get("snapshots", 0)
    ended = f"{snapshots} snapshot{'s' * (snapshots != 1)}" if snapshots else ""
    return ", ".join(filter(None, (ended, f"{packs} pack{'s' * (packs != 1)}")))


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d") if time_ns else ""


def _square(text: str) -> str:
    drawn = io.BytesIO()
    segno.make(text, error="m", micro=False).save(drawn, kind="svg", xmldecl=False, svgns=True, border=1, omitsize=True)
    return drawn.getvalue().decode()
