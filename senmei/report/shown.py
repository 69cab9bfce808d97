"""What analyses show of whole cohorts, read from their folders: figures, tables and remarks."""

from __future__ import annotations

import re
from typing import Any

from senmei.core.errors import SenmeiError
from senmei.io.shown import Figure, Table, read_shown
from senmei.report.figures import Chart
from senmei.report.files import StudyFiles, reason
from senmei.report.pixels import data_uri
from senmei.report.verdict import badges

_NAME = "[A-Za-z0-9_-]+"
_PLACE = re.compile(rf"analysed/(?P<cohort>{_NAME})/(?P<analysis>{_NAME})/(?P<method>{_NAME})")


def shown_sections(files: StudyFiles, room: int) -> tuple[list[dict[str, Any]], int]:
    """(one section a cohort, analysis and method that shows something; figures that `room` bytes did not hold).

    Only folders that summary.json names as `shown` are read: what an earlier configuration left is not. A section:
    title, cohort, badges, method (its title, or None for the unrestored image), items (kind and fields).
    """
    sections: list[dict[str, Any]] = []
    hidden = 0
    for place in files.summary.get("shown") or ():
        match = _PLACE.fullmatch(str(place))
        if match is None or match["cohort"] not in files.cohorts:
            continue
        cohort, analysis, method = match["cohort"], match["analysis"], match["method"]
        section: dict[str, Any] = {
            "title": "",
            "cohort": cohort,
            "badges": badges(files.cohorts[cohort]),
            "method": None if method == "input" else files.title(method),
            "items": [],
        }
        try:
            found = read_shown(files.folder / str(place))
        except SenmeiError as error:
            section["title"] = analysis
            section["items"] = [{"kind": "note", "text": f"{reason(error)}.", "flag": True}]
            sections.append(section)
            continue
        section["title"] = found.title
        told: dict[str, Any]
        for item in found.items:
            if isinstance(item, Figure):
                src = data_uri(item.png)
                if len(src) > room:
                    hidden += 1
                    continue
                room -= len(src)
                chart = Chart(src, item.alt, item.caption)
                told = {"kind": "figure", "chart": chart}
            elif isinstance(item, Table):
                told = {"kind": "table", "caption": item.caption, "columns": item.columns, "rows": item.rows}
            else:
                told = {"kind": "note", "text": item.text, "flag": item.flag}
            section["items"].append(told)
        sections.append(section)
    return sections, hidden
