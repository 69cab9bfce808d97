"""The cohort report: every study of a run on one page."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from senmei.io.atomic import write_text
from senmei.report.files import StudyFiles
from senmei.report.limits import limit_lines
from senmei.report.look import Look
from senmei.report.numbers import best, fair
from senmei.report.page import render
from senmei.report.records import without_folders
from senmei.report.slices import draw_scan
from senmei.report.study import shown_scans, study_look
from senmei.report.style import colours
from senmei.report.tables import cohorts_table, headline_table
from senmei.report.verdict import at_condition, first_measure, named, verdicts


def write_index(
    run_dir: Path, studies: Sequence[str], out: Path, title: str | Mapping[str, Any] = "", config: Any = None
) -> None:
    """Write index.html of a run: verdicts, a thumbnail, headline numbers and a link for each study.

    run_dir : results/{run}. studies : names of the studies, in order. out : the page, written atomically.
    title : of the page (default: the run's name); or the run's configuration, as `config`.
    config : the run's configuration, printed on the page with folders left out.
    Raises DataError when a study's summary.json is missing or damaged.
    """
    if isinstance(title, Mapping):
        title, config = "", title
    run_dir, out = Path(run_dir), Path(out)
    cards = [_study(run_dir / name, out, config) for name in studies]
    run = str((config or {}).get("run") or run_dir.name)
    page = render(
        "index.html",
        title=title or f"Run “{run}”",
        run=run,
        studies=cards,
        failures=sum(card["failures"] for card in cards),
        synthetic=any(row["synthetic"] for card in cards for row in card["cohorts"]),
        config=_printed(config),
    )
    write_text(out, page)


def _study(folder: Path, out: Path, config: Any) -> dict[str, Any]:
    settings = ((config or {}).get("studies") or {}).get(folder.name) or {}
    report = settings.get("report") or {}
    files = StudyFiles(folder)
    primary = [str(name) for name in report.get("primary") or files.summary.get("primary") or ()]
    return {
        "name": folder.name,
        "title": str(report.get("title") or files.summary.get("title") or folder.name),
        "link": quote(Path(os.path.relpath(folder / "report.html", out.parent)).as_posix()),
        "verdicts": verdicts(files, primary),
        "limits": [line for line in limit_lines(files) if line.flagged],
        "cohorts": cohorts_table(files),
        "table": headline_table(files, primary),
        "failures": files.failures,
        **_thumbnail(files, primary, study_look(files, report)),
    }


def _thumbnail(files: StudyFiles, primary: Sequence[str], look: Look) -> dict[str, Any]:
    """A slice in the study's own colours, or a chart of its curves: input, best classical, best learned, reference.

    `heads` and `panels`, or `chart`, and the `caption`; all empty without images.
    """
    shown: dict[str, Any] = {"heads": [], "panels": [], "caption": "", "chart": None}
    for cohort in files.cohorts:
        measure = first_measure(files, primary, cohort)
        _, rows = at_condition(files, cohort, measure) if measure else ((), [])
        picks = [best(fair(files, rows, family)) for family in ("classical", "learned")]
        methods = [str(pick["method"]) for pick in picks if pick] or [
            m for m in files.methods if m != "input"
        ][:2]
        for scan in shown_scans(files, cohort, 1, measure):
            figure = draw_scan(files, cohort, scan, methods, look=look)
            caption = f"{figure.subject}, {named(files, cohort)}, {figure.condition}"
            if figure.chart:
                return {**shown, "chart": replace(figure.chart, caption=f"{caption}. {figure.chart.caption}")}
            if figure.rows:
                colour = colours(files.methods)
                heads = [{**head, "colour": colour.get(head["method"], "")} for head in figure.heads]
                for panel in (panels := figure.rows[0][1]):
                    panel.box = None
                return {**shown, "heads": heads, "panels": panels, "caption": caption}
    return shown


def _printed(config: Any) -> str:
    """The configuration as text, without the folders of the machine."""
    if not config:
        return ""

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): "…" if key == "path" else clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        return without_folders(value) if isinstance(value, str) else value

    return json.dumps(clean(config), indent=2, sort_keys=True, ensure_ascii=False, default=str)
