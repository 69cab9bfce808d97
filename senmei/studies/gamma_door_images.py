"""Planar images of patients without a teacher: static and whole-body DICOM of a clinic's folder; without identities.

What is listed is read at once and kept in the cohort's own folder under the patient's label: names of files, and tags
in them, may hold patients' names. An image is one plane, as of one detector: it is only restored, and nobody knows what
it should have been.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import ConfigError, DataError, SenmeiError, of_the_disk
from senmei.core.study import Listed, Row
from senmei.core.volume import Volume
from senmei.physics.planar.sheet import spread_counts
from senmei.studies.gamma_conditions import camera_of
from senmei.studies.gamma_doors import Door
from senmei.studies.gamma_image_files import finer, levels_of, planes_of, remarks

if TYPE_CHECKING:
    from senmei.io.dicom_nm import NMSeries

TAKEN = ("STATIC", "WHOLE BODY")


class ImageDoor(Door):
    """`source: dicom`: each plane of each static or whole-body image is an image, and a scan, of its own."""

    def check_cohort(self, cohort: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Images without a teacher train nothing; a window has a lower and an upper level."""
        if cohort["use"] != "test":
            raise ConfigError(
                "Images without a teacher train nothing",
                where="cohorts: use",
                why="networks for planar images learn from pairs",
                fix="set `use: test`, and keep a cohort of sheets with `use: train`",
            )
        window = cohort["window"]
        if window != "auto" and window[0] >= window[1]:
            raise ConfigError(
                "Not an energy window",
                where=f"window: {list(window)}",
                why="its lower level is not below its upper one",
                fix="give [low, high] in keV, or auto",
            )
        _wanted(cohort)

    def list_files(
        self, cohort: Mapping[str, Any], folder: Path, *, seed: int, log: Callable[[str], None]
    ) -> Listed:
        """Planes of the folder, kept below `folder`; one file that cannot be used never stops the others.

        Images: `image`, `subject`, `session`, `run`, `view`, `repeat`, what of its camera is told or assumed, `lossy`,
        `noise_ratio`, and the files. Raises DataError when the folder is not there.
        """
        from senmei.io.deidentify import secret_key
        from senmei.io.dicom_nm import list_nm
        from senmei.studies.spect_doors import subject_by_folder

        root, key, wanted = Path(cohort["path"]).absolute(), secret_key(), _wanted(cohort)
        found = list_nm(root, key=key, window=levels_of(cohort))
        status = [_row(subject, "failed", f"image {at}: {why}") for at, subject, why in found.left]
        images: list[Row] = []
        visits: dict[str, list[str]] = {}
        runs: Counter[tuple[str, str]] = Counter()
        store = Path(folder) / "planes"
        written: set[Path] = set()
        for series in found.images:
            by_folder = cohort["patients"] == "folder"
            subject = subject_by_folder(root, series.path, key) if by_folder else series.subject
            title = f"series {series.number}" + (f" ({series.title})" if series.title else "")
            if why := _left(series, wanted):
                status.append(_row(subject, "left", f"{title}: {why}"))
                continue
            if series.study not in visits.setdefault(subject, []):
                visits[subject].append(series.study)
            session = visits[subject].index(series.study) + 1
            runs[subject, series.study] += 1
            name = {"subject": subject, "session": str(session), "run": runs[subject, series.study]}
            try:
                for row, roles in planes_of(series, cohort, title, name):
                    row["repeat"] = 1 + sum(i["subject"] == subject for i in images)
                    images.append({**row, **_keep(store / row["image"], roles)})
                    written |= {Path(images[-1][c]) for c in ("path", "facts_path")}
                    log(f"{row['image']}: taken ({title})")
            except (OSError, ValueError, SenmeiError) as error:
                if of_the_disk(error):
                    raise
                status.append(_row(subject, "failed", f"{title}: {_why(error)}"))
        status += [
            {"scan": i["image"], "subject": i["subject"], "status": "remark", "error": text}
            for i in images
            for text in remarks(i)
        ]
        status += [_row("", "left", f"{count} x {why}") for why, count in sorted(found.others.items())]
        _tidy(store, written)
        present = dict.fromkeys(image["subject"] for image in images)
        return [{"subject": subject} for subject in present], images, status

    def read(self, image: Row, cohort: Mapping[str, Any]) -> dict[str, Any]:
        """Raw roles `counts` (x, y, 1) float32 and `file_facts`. Raises DataError for a plane without counts."""
        from senmei.io.roles import load_role

        counts, where = load_role(Path(image["path"])), image["image"]
        if not float(counts.data.sum(dtype=np.float64)) > 0:
            raise DataError(
                "Nothing was counted in this image",
                where=where,
                why="all of its pixels are zero",
                fix="leave it out with `series:` or `views:`",
            )
        return {"counts": counts, "file_facts": load_role(Path(image["facts_path"]))}

    def prepare(
        self,
        group: str,
        scan: Row,
        raw: Callable[[str, str], Any],
        cohort: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Any], Row]:
        """`low`, `input` and `camera`; of the truth only `mask`, where there are counts; nothing else is known."""
        from senmei.physics.planar.counting import counted_area

        if group not in ("input", "truth"):
            return {}, {}
        low = raw(scan["image"], "counts")
        factor = int(cohort["factor"]) if settings["restore"] == "teacher" else 1
        if group == "truth":
            area = np.kron(counted_area(low.data[..., 0]), np.ones((factor, factor), bool))
            return {"mask": finer(low, area.astype(np.uint8), factor)}, {}
        spread = spread_counts(low.data[..., 0], factor)
        camera = image_camera(scan, low, settings).role(factor)
        columns = {"counts": int(low.data.sum(dtype=np.float64)), "counts_max": float(low.data.max())}
        return {"low": low, "input": finer(low, spread, factor), "camera": camera}, columns

    def case(self, images: Sequence[Row], cohort: Mapping[str, Any]) -> tuple[str, str]:
        """No reference; what was assumed, and whether the values are counts at all."""
        said = [super().case(images, cohort)[1]]
        assumed = dict.fromkeys(i["assumed"] for i in images if i.get("assumed"))
        if assumed:
            said.append(f"Assumed, as files do not tell: {'; or '.join(assumed)}.")
        doubtful = [i for i in images if remarks(i)]
        if doubtful:
            worst = max(doubtful, key=lambda i: len(remarks(i)))
            said.append(
                f"Of {len(images)} image(s) {len(doubtful)} do not hold counts as a camera gives them "
                f"({'; '.join(remarks(worst))}): what rests on Poisson noise (reblur deviance, Richardson-Lucy, "
                "the noise level that networks are told) means little there."
            )
        return "none", " ".join(said)


def image_camera(scan: Mapping[str, Any], low: Volume, settings: Mapping[str, Any]) -> Any:
    """The camera of a measured plane: a `PlanarCamera` with its pixels, whatever its number of them.

    Without background: that of sheets is none of a patient's, and in a whole-body scan no point is seen all the time.
    """
    from senmei.physics.planar.camera import FIELD_MM

    pixel = float(low.voxel[0])
    matrix = max(2, round(FIELD_MM / pixel))
    settled = {**scan, "matrix": matrix, "time_s": scan.get("time_s") or 1.0}
    camera = camera_of(settled, {"pixel_mm": pixel, "size": matrix}, settings)
    return replace(camera, background_cps_per_cm2=0.0)


def _left(series: NMSeries, wanted: re.Pattern[str]) -> str:
    """Why an image of the folder is not taken; '' for one that is."""
    if series.kind not in TAKEN:
        return f"image type {series.kind}, neither static nor whole body"
    if series.transmission:
        return "a transmission image"
    return "" if wanted.search(series.title) else "not selected by series:"


def _wanted(cohort: Mapping[str, Any]) -> re.Pattern[str]:
    try:
        return re.compile(cohort.get("series") or "", re.IGNORECASE)
    except re.error as error:
        where = f"series: {cohort['series']}"
        fix = "write a regular expression, e.g. 'bone|thyroid'"
        raise ConfigError("Cannot select series", where=where, why=str(error), fix=fix) from error


def _keep(stem: Path, roles: Mapping[str, Any]) -> dict[str, str]:
    from senmei.io.roles import save_role

    path = save_role(stem.with_name(f"{stem.name}_counts"), roles["counts"])
    facts = save_role(stem.with_name(f"{stem.name}_facts"), roles["facts"])
    return {"path": str(path.resolve()), "facts_path": str(facts.resolve())}


def _row(subject: str, status: str, error: str) -> Row:
    return {"scan": None, "subject": subject, "status": status, "error": error}


def _why(error: BaseException) -> str:
    """What went wrong without a place: that may be a file's name. Of other errors only their kind."""
    if isinstance(error, SenmeiError):
        return f"{error.what}: {error.why}. Fix: {error.fix}"
    return f"it cannot be read ({type(error).__name__})"


def _tidy(store: Path, written: set[Path]) -> None:
    """Remove what an earlier listing kept and this one did not: a patient who was withdrawn is to be gone."""
    for path in store.iterdir() if store.is_dir() else ():
        if path.resolve() not in written and not path.is_dir():
            path.unlink(missing_ok=True)
