"""dcm2niix, the program that turns DICOM series into NIfTI, and the door through which such series come in.

Li X et al. The first step for neuroimaging data analysis: DICOM to NIfTI conversion. J Neurosci Methods
2016;264:47.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from senmei.core.errors import ConfigError, DataError, EngineError
from senmei.io.atomic import write_text
from senmei.io.bids import list_bids
from senmei.io.deidentify import clean_sidecar, clean_text, secret_key, subject_label
from senmei.io.dicom import Series, defect, list_dicom
from senmei.io.names import safe_label, stem
from senmei.io.nifti import read_header, read_volume, write_volume
from senmei.io.tables import Row, write_tsv

TAKEN = ("subject", "session", "series", "description", "modality", "files", "status", "reason")
_DATATYPE = {"bold": "func", "sbref": "func", "dwi": "dwi"}
_NOT_MAGNITUDE = {"ph": "phase", "real": "real part", "imaginary": "imaginary part", "ROI": "overlay"}
_MINUTES = 10


def _quiet(_: str) -> None:
    """No progress wanted."""


@dataclass(frozen=True)
class Ingested:
    """What came through the door: rows as `list_bids` gives them, and what was taken and left."""

    participants: list[Row]
    images: list[Row]
    status: list[Row]
    report: list[Row]


def find_dcm2niix() -> Path:
    """The executable, on PATH or beside this Python. Raises EngineError if there is none."""
    places = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    if found := shutil.which("dcm2niix", path=places):
        return Path(found)
    raise EngineError(
        "dcm2niix is not installed",
        where="dcm2niix",
        why="no such program on PATH nor beside this Python; it converts DICOM series",
        fix="pip install dcm2niix, or convert the series yourself and use source: bids",
    )


def convert(series: Series, folder: Path, *, minutes: float | None = None) -> list[Path]:
    """Run dcm2niix on the files of one series; returns the NIfTI files it left in `folder` (an empty folder).

    The program sees numbered links, not the files' own names. Raises EngineError if it fails, takes longer
    than `minutes` or makes nothing; its own words are in the message, identifiers removed.
    """
    program, minutes = find_dcm2niix(), _MINUTES if minutes is None else minutes
    source, home = folder / "in", folder / "home"
    for place in (source, home):
        place.mkdir()
    for number, path in enumerate(series.files):
        (source / f"{number:06d}.dcm").symlink_to(path)
    command = [str(program), "-b", "y", "-ba", "y", "-z", "n", "-f", "image", "-w", "1", "-d", "0"]
    environment = {**os.environ, "HOME": str(home)}  # its settings file there would change results
    where = f"series {series.number} ({series.title})"
    try:
        done = subprocess.run(
            [*command, "-o", str(folder), str(source)],
            capture_output=True,
            timeout=60 * minutes,
            env=environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            "dcm2niix did not finish",
            where=where,
            why=f"it ran for more than {minutes:g} minutes",
            fix="convert this series by hand to see what holds it up, or leave it out with series:",
        ) from error
    images = sorted(folder.glob("image*.nii"))
    if done.returncode or not images:
        output = (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace").splitlines()
        said = [
            line for line in output if re.match(r"\s*(error|warning|unable|no valid)", line, re.IGNORECASE)
        ]
        words = frozenset(series.words | {str(folder).lower()})
        why = "; ".join(clean_text(line, words, 160) for line in said[-3:]) or "it gave no reason"
        raise EngineError(
            "dcm2niix failed",
            where=where,
            why=f"exit status {done.returncode}, {len(images)} images: {why}",
            fix="check that the series is complete, or leave it out with series:",
        )
    return images


def ingest_dicom(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    suffix: str = "T1w",
    modality: str = "MR",
    series: str | None = None,
    frames: str | None = None,
    key: bytes | None = None,
    log: Callable[[str], None] = _quiet,
) -> Ingested:
    """Convert the wanted series below `folder` into a BIDS dataset without identities at `out`.

    modality : of the series wanted. series : regular expression that the series description must contain.
    suffix : that the images get. frames : as in list_bids ('repeats': each volume of a time series by
        itself).
    key : of the subject labels (default: `secret_key()`).

    Images are written with new headers; sidecars keep technical keys only; `out`/taken.tsv says of each
    series what was taken, what was left, and why. A bad series is a row in the report and in the status, not
    an end. `out` is replaced as a whole, and only when something was taken.
    Raises DataError if nothing was, ConfigError for a bad expression, EngineError without dcm2niix.
    """
    if safe_label(suffix) != suffix:  # it becomes part of file names
        fix = "use letters and digits only, such as T1w"
        raise ConfigError(
            "Cannot name the images", where=f"suffix: {suffix!r}", why="it is no BIDS suffix", fix=fix
        )
    try:
        pattern = re.compile(series or "", re.IGNORECASE)
    except re.error as error:
        fix = "write a regular expression, e.g. 't1|mprage'"
        raise ConfigError(
            "Cannot select series", where=f"series: {series}", why=str(error), fix=fix
        ) from error
    find_dcm2niix()
    key = secret_key() if key is None else key
    out = Path(out)
    listing = list_dicom(folder)
    sessions = _sessions(listing.series)
    report: list[Row] = []
    failed: list[Row] = []
    taken: Counter[tuple[str, str]] = Counter()
    wanted = [s for s in listing.series if s.modality == modality and pattern.search(s.description)]
    several = Counter((s.identity, s.study) for s in wanted)
    with tempfile.TemporaryDirectory(prefix="senmei-") as scratch:
        dataset = Path(scratch, "bids")
        dataset.mkdir()
        for number, item in enumerate(listing.series):
            subject, session = subject_label(item.identity, key), sessions[item.study]
            run: str | None = None
            if several[item.identity, item.study] > 1:
                run = safe_label(str(item.number))
            row = {
                "subject": subject,
                "session": session,
                "series": item.number,
                "description": item.title,
                "modality": item.modality,
                "files": len(item.files),
            }
            status, reason = "left", None
            if item.modality != modality:
                reason = f"modality {item.modality}; {modality} is wanted"
            elif item not in wanted:
                reason = "not selected by series:"
            elif why := defect(item):
                status, reason = "failed", why
            else:
                work = Path(scratch, str(number))
                work.mkdir()
                taken[f"{subject}/{session}", str(run)] += 1
                if (again := taken[f"{subject}/{session}", str(run)]) > 1:
                    run = f"{run or 1}n{again}"  # another series of the same number
                try:
                    reason = _take(item, work, dataset, subject, session, run, suffix)
                    status = "taken"
                except (DataError, EngineError) as error:
                    status, reason = "failed", clean_text(error.why, frozenset(item.words), 200)
                shutil.rmtree(work)
            if item.repeated:
                reason = f"{reason or ''}; {item.repeated} files were there twice".lstrip("; ")
            report.append({**row, "status": status, "reason": reason})
            log(f"series {item.number} ({item.title}): {status}{f', {reason}' if reason else ''}")
            if status == "failed" or item.modality != modality:
                said = f"series {item.number} ({item.title}): {reason}"
                failed.append({"scan": None, "subject": subject, "status": status, "error": said})
        report += [
            {"files": count, "status": "left", "reason": reason}
            for reason, count in sorted(listing.others.items())
        ]
        if not any(row["status"] == "taken" for row in report):
            raise _nothing(folder, report, modality, series)
        _describe(dataset, report)
        _replace(dataset, out)
    participants, images, status_rows = list_bids(out, suffix, frames=frames)
    return Ingested(participants, images, [*failed, *status_rows], report)


def ingest_cohort(
    cohort: Mapping[str, Any], folder: Path, *, seed: int, log: Callable[[str], None]
) -> tuple[list[Row], list[Row], list[Row]]:
    """Participants, images and status rows of a cohort with `source: dicom`; images go to `folder`/bids.

    cohort : `path`, and where given `suffix`, `modality`, `series`, `frames`. `seed` changes nothing here:
        labels
    depend on the patient and the key alone, so that runs can be compared.
    """
    settings = {k: cohort[k] for k in ("suffix", "modality", "series", "frames") if cohort.get(k) is not None}
    found = ingest_dicom(cohort["path"], Path(folder) / "bids", log=log, **settings)
    return found.participants, found.images, found.status


def _sessions(series: list[Series]) -> dict[str, str]:
    """Study -> '1', '2', ... in the order of a patient's visits."""
    result: dict[str, str] = {}
    count: Counter[str] = Counter()
    for item in series:  # sorted by patient and date
        if item.study not in result:
            count[item.identity] += 1
            result[item.study] = str(count[item.identity])
    return result


def _take(
    item: Series, work: Path, dataset: Path, subject: str, session: str, run: str | None, suffix: str
) -> str | None:
    """Convert one series into the dataset; returns a remark for the report."""
    images, remarks, kept = convert(item, work), [], []
    mosaic = any("MOSAIC" in str(header["ImageType"]).upper() for header in item.headers)
    voxels = sum(prod(read_header(image).shape) for image in images)
    if voxels < item.voxels and not mosaic:
        why = f"dcm2niix converted {voxels} of {item.voxels} voxels: its images do not belong together"
        raise DataError("Cannot use a series", where=f"series {item.number}", why=why, fix="export it again")
    for image in images:
        tail = image.stem.removeprefix("image").strip("_")
        parts = tail.split("_") if tail else []
        if other := next((name for part, name in _NOT_MAGNITUDE.items() if part in parts), None):
            remarks.append(f"left its {other}")
            continue
        echo = next((part[1:] for part in parts if re.fullmatch(r"e\d+", part)), None)
        if rest := [part for part in parts if not re.fullmatch(r"e\d+", part)]:
            unequal = any(part.startswith(("Eq", "Tilt")) for part in rest)
            why = (
                "its slices are unequally spaced or tilted"
                if unequal
                else "it holds several images in one series"
            )
            fix = "export it again, or convert it by hand and use source: bids"
            raise DataError("Cannot use a series", where=f"series {item.number}", why=why, fix=fix)
        kept.append((image, echo))
    for image, echo in kept:
        volume = read_volume(image, ndim=(3, 4), labels=False)
        name = stem(subject, session, run, **({"echo": echo} if echo else {})) + f"_{suffix}"
        place = dataset / subject / f"ses-{session}" / _DATATYPE.get(suffix, "anat")
        write_volume(place / f"{name}.nii.gz", volume)
        sidecar = json.loads(image.with_suffix(".json").read_text(encoding="utf-8", errors="replace"))
        cleaned = clean_sidecar(sidecar, frozenset(item.words))
        write_text(place / f"{name}.json", json.dumps(cleaned, indent=1) + "\n")
    if not kept:
        raise DataError(
            "Cannot use a series", where=f"series {item.number}", why="no magnitude image", fix=""
        )
    return "; ".join(remarks) or None


def _describe(dataset: Path, report: list[Row]) -> None:
    subjects = sorted({row["subject"] for row in report if row["status"] == "taken"})
    facts = {
        "Name": "Converted DICOM series, identities removed",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
    }
    write_text(dataset / "dataset_description.json", json.dumps(facts, indent=1) + "\n")
    write_tsv(dataset / "participants.tsv", [{"participant_id": subject} for subject in subjects])
    write_tsv(dataset / "taken.tsv", report, TAKEN)


def _replace(dataset: Path, out: Path) -> None:
    """Put a finished dataset in the place of the one before, which stays until then."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft, old = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    for place in (draft, old):
        shutil.rmtree(place, ignore_errors=True)
    try:
        shutil.copytree(dataset, draft)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if out.exists():
        out.rename(old)
    draft.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _nothing(folder: object, report: list[Row], modality: str, series: str | None) -> DataError:
    report = sorted(report, key=lambda row: row["status"] != "failed")  # the wanted ones first
    found = [
        f"series {r['series']} ({r['description']}): {r['reason']}"
        for r in report
        if r.get("series") is not None
    ]
    others = [f"{r['files']} x {r['reason']}" for r in report if r.get("series") is None]
    return DataError(
        f"No usable {modality} series" + (f" with a description like '{series}'" if series else ""),
        where=folder,
        why="; ".join([*found[:8], *others[:4]]) or "the folder is empty",
        fix="check path, modality: and series:; give a folder of complete series",
    )
