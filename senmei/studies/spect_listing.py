"""Acquisitions of patients, from a clinic's folder into a cohort: who, which visit, with which map; without identities.

What is listed is read at once and kept in the cohort's own folder, under the subject's label: the names of a clinic's
files may hold patients' names, and so may the tags in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import DataError, SenmeiError, of_the_disk
from senmei.core.study import Listed, Row
from senmei.core.volume import Volume
from senmei.io.names import stem

if TYPE_CHECKING:
    from senmei.studies.spect_doors import Folder, Found


def list_acquisitions(cohort: Mapping[str, Any], folder: Path, log: Callable[[str], None]) -> Listed:
    """Participants, images and status rows of a folder of acquisitions; what is taken is kept below `folder`.

    Subjects have the labels of `senmei.io.deidentify`, sessions and runs are numbered in the order of acquisition.
    Images: `image`, `subject`, `session`, `run`, `repeat`, `gates`, `path`, `facts_path` and `attenuation_path`.
    One file that cannot be used never stops the others. Raises DataError when the folder is not there.
    """
    from senmei.studies.spect_doors import find_acquisitions

    found = find_acquisitions(cohort)
    return keep(found, cohort, Path(folder) / "acquisitions", log)


def keep(found: Folder, cohort: Mapping[str, Any], store: Path, log: Callable[[str], None]) -> Listed:
    """Read what was found and keep it below `store`; rows as of `list_acquisitions`."""
    items = found.images
    status = [_row(subject, "failed", why) for subject, why in found.left]
    images: list[Row] = []
    written: set[Path] = set()
    sessions = _sessions(items)
    several = Counter((i.subject, i.session) for i in items if i.kind == "projections")
    runs: Counter[tuple[str, str]] = Counter()
    used: set[int] = set()
    for item in items:
        subject = item.subject
        told = f"{item.title}: "
        if item.kind not in ("projections", "map"):
            status.append(_row(subject, "left", told + item.kind))
        if item.kind != "projections":
            continue
        visit = subject, item.session
        runs[visit] += 1
        run = runs[visit] if several[visit] > 1 else None
        name = stem(subject, sessions[visit], run)
        try:
            maps = [] if cohort["attenuation"] == "none" else _maps_of(item, items, name)
            used |= {id(m) for m in maps}
            files, gates = _take(item, maps, name, store)
        except (OSError, ValueError, SenmeiError) as error:
            if of_the_disk(error):
                raise
            status.append(_row(subject, "failed", told + item.clean(_why(error)), name))
            continue
        written |= set(files.values())
        images.append(
            {
                "image": name,
                "subject": subject,
                "session": sessions[visit],
                "run": run,
                "repeat": 1 + sum(i["subject"] == subject for i in images),
                "gates": gates,
                **{column: str(path.resolve()) for column, path in files.items()},
            }
        )
        log(f"{name}: taken ({item.title}){', with its attenuation map' if maps else ''}")
    for item in items:
        if item.kind == "map" and id(item) not in used:
            why = "attenuation map, not used: the cohort wants none, or it goes with no acquisition that was taken"
            status.append(_row("" if item.placed else item.subject, "left", f"{item.title}: {why}"))
    status += [_row("", "left", f"{count} x {reason}") for reason, count in sorted(found.others.items())]
    _tidy(store, written)
    for image in images:
        image.setdefault("attenuation_path", None)
    present = dict.fromkeys(image["subject"] for image in images)
    return [{"subject": subject} for subject in present], images, status


def _row(subject: str, status: str, error: str, scan: str | None = None) -> Row:
    return {"scan": scan, "subject": subject, "status": status, "error": error}


def _why(error: BaseException) -> str:
    """What went wrong without a place: that is a file's name. Of other errors only their kind: they may name it too."""
    if isinstance(error, SenmeiError):
        return f"{error.what}: {error.why}. Fix: {error.fix}"
    return f"it cannot be read ({type(error).__name__})"


def _sessions(items: Iterable[Found]) -> dict[tuple[str, str], str]:
    """(patient, visit) -> '1', '2', ... in the order of a patient's visits that hold acquisitions."""
    result: dict[tuple[str, str], str] = {}
    count: Counter[str] = Counter()
    for item in items:
        visit = item.subject, item.session
        if item.kind == "projections" and visit not in result:
            count[item.subject] += 1
            result[visit] = str(count[item.subject])
    return result


def _maps_of(item: Found, items: Sequence[Found], name: str) -> list[Found]:
    """The one map of an acquisition: of its visit, else of its patient; of several the one in its
    frame of reference, in its folder, beside it.

    A map that names no patient is taken by its own name, or when all acquisitions where it lies are of one patient.
    Raises DataError where there is none, or where several could be meant.
    """
    own = []
    for each in items:
        if each.kind == "map" and each.of(item):
            reach = [i for i in items if i.kind == "projections" and each.of(i)]
            named = [i for i in reach if each.beside(i)]
            alone = not named and len({i.subject for i in reach}) == 1
            if not each.placed or item in named or alone:
                own.append(each)
    same_visit = [m for m in own if m.session == item.session]
    found = same_visit or own
    if len(found) > 1 and item.frame:  # rest and stress of one day: each lay in its own place
        found = [m for m in found if m.frame == item.frame] or found
    if len(found) > 1:
        found = [m for m in found if m.folder == item.folder] or found
    if len(found) > 1:
        found = [m for m in found if m.beside(item)] or found
    if len(found) == 1:
        return found
    why = f"{len(found)} attenuation maps could be meant" if found else "no attenuation map came with it"
    fix = (
        "keep one map a visit, or lay each beside its acquisition in a folder of its own"
        if found
        else "bring its map; or set `attenuation: none`, and attenuation and scatter of the reconstruction to false"
    )
    raise DataError("Cannot tell its attenuation map", where=name, why=why, fix=fix)


def _take(item: Found, maps: Sequence[Found], name: str, store: Path) -> tuple[dict[str, Path], int]:
    """Read an acquisition and its map and keep them; columns with the files, and the number of gates."""
    from senmei.io.projection_store import save_projections
    from senmei.io.projections import Projections
    from senmei.io.roles import save_role

    projections = item.load()
    if not isinstance(projections, Projections):
        raise DataError(
            "Not an acquisition", where=name, why="the file holds images, not projections", fix="leave it out"
        )
    projections.check(name)
    counts, facts = save_projections(store / name, projections)
    files = {"path": counts, "facts_path": facts}
    for each in maps:
        volume = each.load()
        if not isinstance(volume, Volume):
            raise DataError(
                "Not an attenuation map", where=name, why="its file holds no volume", fix="leave it out"
            )
        plain = Volume(np.asarray(volume.data, np.float32), volume.affine)
        files["attenuation_path"] = save_role(store / f"{name}_attenuation", plain)
    return files, projections.gates


def _tidy(store: Path, written: set[Path]) -> None:
    """Remove what an earlier listing kept and this one did not: a patient who was withdrawn is to be gone."""
    if store.is_dir():
        for path in store.iterdir():
            if path not in written and not path.is_dir():
                path.unlink(missing_ok=True)
