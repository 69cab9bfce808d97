"""What a laboratory needs of a cohort of printed sheets before anything is imaged: pages, plan, and a table to fill."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from senmei.core.study import Row
from senmei.core.volume import Volume
from senmei.io.atomic import write_text
from senmei.io.tables import write_tsv
from senmei.studies.gamma_pages import (
    WEDGE,
    SheetPage,
    layout_of,
    mix_of,
    pages_of,
    planning_camera,
    printer_of,
    substrate_of,
)
from senmei.studies.gamma_scan_files import COLUMNS, TABLE

if TYPE_CHECKING:
    from senmei.lab.planning import Mix, Plan

FILES = ("sheets.pdf", "pages.tsv", "plan.tsv", TABLE, "layout.json", "notes.txt")
_LONGEST_MIN = 60.0  # of an acquisition, where the activity is given


def printed(cohort: Mapping[str, Any]) -> bool:
    """Whether a cohort has pages to print."""
    return bool(cohort["source"] == "sheets")


def print_pages(cohort: Mapping[str, Any], folder: Path) -> list[str]:
    """Write `FILES` into `folder`; returns what the person who prints should know, a sentence each.

    sheets.pdf : the wedge, then a page each. pages.tsv : id, number in the PDF, source and licence of each. plan.tsv :
    ink, activity, time of printing, start and length of the acquisition. scans.tsv : to be filled and put beside the
    camera's files; one that is there and is another is kept. layout.json : where everything lies, and with what it
    was planned. notes.txt : the sentences.
    No scan is looked at. Raises ConfigError and DataError as `pages_of`, `plan_pages` and `write_sheets`.
    """
    from senmei.lab.layout import wedge
    from senmei.lab.sheets import Page, write_sheets

    layout, pages = layout_of(cohort), pages_of(cohort)
    greys: dict[str, Volume] = {WEDGE: wedge(layout), **{page.name: page.load() for page in pages[0]}}
    mix, plan = _planned(cohort, greys)
    folder.mkdir(parents=True, exist_ok=True)
    start = {
        row.page: f"imaged from minute {row.start_min:.0f}, {row.acquisition_s:.0f} s" for row in plan.pages
    }
    sheets = [Page(page.name, greys[page.name], start[page.name]) for page in pages[0]]
    printer, substrate = printer_of(cohort), substrate_of(cohort)
    write_sheets(folder / "sheets.pdf", sheets, layout, printer, substrate)
    write_tsv(folder / "pages.tsv", _page_rows(pages[0]))
    write_tsv(folder / "plan.tsv", [_finite(asdict(row)) for row in plan.pages])
    kept = _write_table(folder, [_blank(name, cohort) for name in greys])
    about = {
        "layout": layout.describe(),
        "printer": asdict(printer),
        "substrate": asdict(substrate),
        "mix": asdict(mix),
        "camera": planning_camera(cohort).to_dict() | {"time_s": None},
    }
    write_text(folder / "layout.json", json.dumps(about, indent=1, sort_keys=True) + "\n")
    told = [*kept, *_told(mix, plan, len(pages[1]), cohort)]
    write_text(folder / "notes.txt", "\n".join(told) + "\n")
    return told


def _planned(cohort: Mapping[str, Any], greys: Mapping[str, Volume]) -> tuple[Mix, Plan]:
    """The mix, its activity worked out where none is given, and the day."""
    from senmei.lab.planning import activity_needed, plan_pages

    mix, counts = mix_of(cohort), float(cohort["counts_maximum"])
    how = (layout_of(cohort), mix, printer_of(cohort), substrate_of(cohort), planning_camera(cohort))
    longest = _LONGEST_MIN
    if cohort["mix"]["mbq"] is None:
        longest = float(cohort["mix"]["within_min"])
        mix = activity_needed(greys, *how, within_min=longest, counts_maximum=counts)
    layout, _, printer, substrate, camera = how
    plan = plan_pages(
        greys, layout, mix, printer, substrate, camera, counts_maximum=counts, longest_min=longest
    )
    return mix, plan


def _page_rows(pages: list[SheetPage]) -> list[Row]:
    """One a page of the PDF, the wedge first."""
    from senmei.phantoms.teachers import teachers

    source = {teacher.name: teacher.source for teacher in teachers()}
    rows: list[Row] = [
        {"page": WEDGE, "number": 1, "subject": None, "family": None, "split": None, "source": None}
    ]
    for number, page in enumerate(pages, start=2):
        row = {"page": page.name, "number": number, "subject": page.subject, "family": page.family}
        rows.append(
            {**row, "split": page.split, "source": source.get(page.teacher, "the folder of pictures")}
        )
    return rows


def _blank(name: str, cohort: Mapping[str, Any]) -> Row:
    """A row of the table to fill: file names are a proposal, times are not known yet."""
    return {"file": f"{name}.dcm", "page": name, "distance_mm": float(cohort["distance_mm"])}


def _write_table(folder: Path, rows: list[Row]) -> list[str]:
    """The table to fill, and a sentence where one is there already that is another: what was filled in stays."""
    table, new = folder / TABLE, folder / f"new-{TABLE}"
    write_tsv(new, rows, COLUMNS)
    if table.exists() and table.read_bytes() != new.read_bytes():
        return [f"{TABLE} was there and was kept as it is; the table of these pages is {new.name}."]
    new.replace(table)
    return []


def _finite(row: Row) -> Row:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _told(mix: Mix, plan: Plan, left_out: int, cohort: Mapping[str, Any]) -> list[str]:
    """What to mix, how long it takes, and what is wrong or assumed."""
    worked = " (the least that is enough)" if cohort["mix"]["mbq"] is None else ""
    pages, end = len(plan.pages), plan.finished_min
    told = [
        f"Stir {mix.mbq:.0f} MBq of {mix.nuclide} at its calibration{worked} in {mix.ri_ml:g} ml into "
        f"{mix.ink_ml:g} ml of ink; an open source is for those who are licensed for it.",
        f"{pages} pages take {plan.ink_ml:.2f} ml of ink and {plan.mbq_used:.0f} MBq; the last acquisition ends "
        f"{end:.0f} minutes after the calibration.",
        "Print at 100 % and measure the bar of 50 mm on each page.",
        f"Fill {TABLE} (file, page, start_min) and put it beside the camera's files, in the cohort's `path`.",
    ]
    if left_out:
        told.append(f"{left_out} pictures could not be read and are on no page.")
    return [*told, *plan.warnings]
