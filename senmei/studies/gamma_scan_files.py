"""Scans of printed sheets as the laboratory leaves them: a folder of DICOM NM files and the table that names them.

What is listed is read at once and kept in the cohort's own folder, under the teacher's name: names of files, and tags
in them, stay behind. What a header tells of the acquisition is taken from it; what the table says otherwise must agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from senmei.core.errors import DataError, SenmeiError, nearest, of_the_disk
from senmei.core.study import Listed, Row
from senmei.core.volume import Volume
from senmei.io.names import stem
from senmei.studies.gamma_pages import WEDGE, SheetPage, pages_of
from senmei.studies.gamma_static import plane_of_static, read_static, take_scan

TABLE = "scans.tsv"
COLUMNS = ("file", "page", "start_min", "distance_mm", "notes")  # of the template; others as of `sheet_scans`


def list_scans(cohort: Mapping[str, Any], folder: Path, log: Callable[[str], None]) -> Listed:
    """Participants, images and status rows of a folder of scans; what is taken is kept below `folder`.

    Subjects are sources of teachers. Images: `image`, `subject`, `run` (of the subject, in the table's order),
    `repeat`, `page`, `family`, `teacher`, the conditions (`time_s`, `pixel_mm` and `matrix` of the image `low`,
    `nuclide`, `collimator`, `distance_mm`, `layer_mm`), `start_min`, `mbq`, `bin`, `line` of the table, and files:
    `path`, `facts_path`, `teacher_path` and `flood_path`.
    One scan that cannot be used never stops the others. Raises DataError where folder or table are not there, the table
    breaks its schema or splits a source, the flood cannot be used, or as `pages_of`.
    """
    root = Path(cohort["path"]).absolute()
    table = _table(root)
    pages, left_out = pages_of(cohort)
    known = {page.name: page for page in pages}
    splits = _splits(table, known)
    store = Path(folder) / "acquisitions"
    written: set[Path] = set()
    flood = _flood(root, cohort, store, written)
    status = [
        _row(None, None, "left", f"{n} x picture: {why}") for why, n in Counter(left_out.values()).items()
    ]
    images: list[Row] = []
    runs: Counter[str] = Counter()
    seen: set[str] = set()
    for line, row in enumerate(table, start=2):
        where, name = f"line {line} of {TABLE}", str(row["page"])
        seen.add(name)
        if name == WEDGE:
            why = "the calibration wedge is no teacher; senmei.lab.wedge reads it"
            status.append(_row(None, None, "left", f"{where}: {why}"))
            continue
        page = known.get(name)
        if page is None:
            why = f"no page has the id '{name}'. Fix: {nearest(name, known)}"
            status.append(_row(None, None, "failed", f"{where}: {why}"))
            continue
        runs[page.subject] += 1
        image = stem(page.subject, run=runs[page.subject])
        try:
            found = take_scan(root, row, where, cohort)
        except (OSError, ValueError, SenmeiError) as error:
            if of_the_disk(error):
                raise
            status.append(_row(image, page.subject, "failed", f"{where}: {_why(error)}"))
            continue
        files = {"path": _keep(store / image, found.pop("counts"), written), "teacher_path": None}
        if not page.teacher:
            files["teacher_path"] = _keep(Path(folder) / "teachers" / name, page.load(), written)
        base = {"image": image, "subject": page.subject, "run": runs[page.subject]}
        base |= {"repeat": 1 + sum(i["subject"] == page.subject for i in images), "page": name}
        base |= {"family": page.family, "teacher": page.teacher or None, "line": line}
        # what decides the raw roles beside pixels is a file too, since files are what they are made anew for
        deciding = {**found, "page": name, "teacher": page.teacher}
        files["facts_path"] = _keep(store / f"{image}_facts", deciding, written)
        images.append({**base, **found, **files, "flood_path": flood})
        log(f"{image}: page {name}, {found['time_s']:g} s")
    if absent := [name for name in known if name not in seen]:
        some = ", ".join([*absent[:8], *(["..."] if absent[8:] else [])])
        told = f"{len(absent)} of {len(known)} pages have no scan: {some}"
        status.append(_row(None, None, "absent", told))
    _tidy(store, written)
    _tidy(Path(folder) / "teachers", written)
    subjects = dict.fromkeys(image["subject"] for image in images)
    return [_participant(s, pages, splits) for s in subjects], images, status


def _table(root: Path) -> list[Row]:
    """Rows of scans.tsv, checked."""
    from senmei.io.table_schemas import check_table
    from senmei.io.tables import read_tsv

    fix = f"print the sheets (`snakemake sheets`), image them, and put the files and the filled {TABLE} there"
    if not root.is_dir():
        why = "it is not a folder" if root.exists() else "there is no such folder"
        raise DataError("Cannot list scans of sheets", where=root, why=why, fix=fix)
    if not (root / TABLE).is_file():
        why = f"it holds no {TABLE}, which says which page each file shows"
        raise DataError("Cannot list scans of sheets", where=root, why=why, fix=fix)
    rows = read_tsv(root / TABLE)
    check_table("sheet_scans", rows, root / TABLE)
    return rows


def _splits(table: list[Row], known: Mapping[str, SheetPage]) -> dict[str, str]:
    """subject -> split that the table prescribes. Raises DataError where it prescribes two."""
    found: dict[str, str] = {}
    for row in table:
        page = known.get(str(row["page"]))
        if page is not None and row.get("split"):
            if found.setdefault(page.subject, row["split"]) != row["split"]:
                raise DataError(
                    "A source of teachers is in two splits",
                    where=f"{TABLE}: page {page.name}",
                    why=f"its source, {page.subject}, is in {found[page.subject]} already",
                    fix="give all pages of one source the same split",
                )
    return found


def _participant(subject: str, pages: list[SheetPage], splits: Mapping[str, str]) -> Row:
    page = next(page for page in pages if page.subject == subject)
    return {"subject": subject, "family": page.family, "split": splits.get(subject, page.split)}


def _flood(root: Path, cohort: Mapping[str, Any], store: Path, written: set[Path]) -> str | None:
    """The flood image, kept; None where there is none."""
    name = cohort["corrections"]["uniformity"]
    if name is None:
        return None
    where = "cohorts: corrections.uniformity"
    static = read_static(root, str(name), where)
    return _keep(store / "flood", plane_of_static(static, str(cohort["nuclide"]), 0, where), written)


def _keep(place: Path, value: Volume | Row, written: set[Path]) -> str:
    from senmei.io.roles import save_role

    place.parent.mkdir(parents=True, exist_ok=True)
    path = save_role(place, value)
    written.add(path)
    return str(path.resolve())


def _tidy(store: Path, written: set[Path]) -> None:
    """Remove what an earlier listing kept and this one did not."""
    if store.is_dir():
        for path in store.iterdir():
            if path not in written and path.is_file():
                path.unlink(missing_ok=True)


def _row(scan: str | None, subject: str | None, status: str, error: str) -> Row:
    return {"scan": scan, "subject": subject, "status": status, "error": error}


def _why(error: BaseException) -> str:
    """What went wrong, without the place that the row tells already; of other errors only their kind."""
    if isinstance(error, SenmeiError):
        return f"{error.what}: {error.why}. Fix: {error.fix}"
    return f"it cannot be read ({type(error).__name__})"
