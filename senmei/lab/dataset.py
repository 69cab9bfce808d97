"""Pairs of measured images and their teachers, to hand on: a BIDS-like folder, and the same as DICOM.

    dataset_description.json README LICENSE participants.tsv participants.json scans.json .bidsignore SHA256SUMS
    sub-x/nm/{scan}_nm.nii.gz, .json     counts on the camera's grid, and how they were measured
    sub-x/sub-x_scans.tsv                conditions and all else that is known of each scan
    derivatives/pairs/                   reference, printed area, teacher, ... of each scan, on the reference's grid
    sourcedata/dicom/sub-x/              measured image, teacher and reference as NM STATIC images of one space

Nuclear-medicine planar images are not part of BIDS: `nm` and `_nm` are named after the modality, where the fields of
PET-BIDS fit they are used, and `.bidsignore` says so to validators. The same pairs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from senmei.core.errors import ConfigError, DataError
from senmei.io.dataset_folder import FolderWriter
from senmei.lab.dataset_pair import DERIVATIVES, VERSION, Pair, dicom_place, kept, places_of
from senmei.lab.dataset_readme import LICENCES, licence_text, readme
from senmei.lab.dataset_text import (
    as_json,
    as_tsv,
    columns_json,
    derivatives_json,
    description_json,
    participants_json,
    sidecar,
)


@dataclass(frozen=True)
class About:
    """What is said of a whole dataset.

    name, licence : of the dataset; both needed. licence : a name in `LICENCES`, or another with its `text`. authors :
    as they want to be named. made : sentences on how the pairs were made. acknowledge : how to cite it.
    dicom : whether DICOM goes along. Raises ConfigError for a dataset without name or licence.
    """

    name: str
    licence: str
    authors: tuple[str, ...] = ()
    text: str = ""
    made: tuple[str, ...] = ()
    acknowledge: str = ""
    dicom: bool = True

    def __post_init__(self):
        if not self.name.strip():
            raise _no("name", "a dataset is cited by its name", "give one")
        if not self.licence.strip():
            why = "without a licence nobody may use what is handed on"
            raise _no("licence", why, f"choose one: {', '.join(LICENCES)}, or your own with its text")
        if self.licence not in LICENCES and not self.text.strip():
            why = f"the text of '{self.licence}' is not known here, and whoever gets the data must be able to read it"
            raise _no(
                "licence_file", why, f"give a file with its text, or choose one of {', '.join(LICENCES)}"
            )


def _no(key: str, why: str, fix: str) -> ConfigError:
    return ConfigError("This dataset cannot be handed on", where=f"dataset: {key}", why=why, fix=fix)


class DatasetWriter:
    """Writes a dataset pair by pair. `close` makes it whole; without it no reader takes it."""

    def __init__(self, folder: Path | str, about: About) -> None:
        self.about, self.folder = about, FolderWriter(folder)
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def add(self, pair: Pair) -> dict[str, tuple[str, str]]:
        """role -> (place, SHA-256) of the files written. Of a pair that fails nothing stays.

        Raises DataError for what is no pair, or cannot be held by DICOM.
        """
        pair.check()
        before = set(self.folder.sums)
        try:
            return self._add(pair)
        except Exception:
            self.folder.drop([place for place in self.folder.sums if place not in before])
            raise

    def _add(self, pair: Pair) -> dict[str, tuple[str, str]]:
        put, places = self.folder, places_of(pair.scan)
        columns = kept(pair.columns)
        written: dict[str, str] = {}
        for role, plane in pair.roles.items():
            if role != "camera":
                put.put_role(places[role], plane)
                written[role] = places[role]
        put.put(places["sidecar"], as_json(sidecar(pair.roles, columns)))
        written["sidecar"] = places["sidecar"]
        if self.about.dicom:
            from senmei.lab.dataset_dicom import pair_dicom

            for role, content in pair_dicom(
                pair, put.sums[places["low"]], put.sums[places["reference"]]
            ).items():
                written[f"{role}_dicom"] = dicom_place(pair.scan, role)
                put.put(written[f"{role}_dicom"], content)
        row = {"filename": f"nm/{Path(places['low']).name}", **columns}
        self._rows.setdefault(pair.subject, []).append(row)
        return {role: (place, put.sums[place]) for role, place in written.items()}

    def close(self, participants: Sequence[Mapping[str, Any]] = ()) -> None:
        """Tables, texts and checksums. participants : rows with `subject`, and `split` where they have one.

        Raises DataError for a dataset without a pair.
        """
        if not self._rows:
            why, fix = "none of its scans is a pair", "see the log: it tells of each scan why"
            raise DataError("Nothing to hand on", where=self.folder.root, why=why, fix=fix)
        put, about, known = self.folder, self.about, {row["subject"]: row for row in participants}
        people = []
        for subject, rows in self._rows.items():
            row = known.get(subject, {})
            more = {**({"split": row["split"]} if row.get("split") else {}), **kept(row)}
            people.append({"participant_id": subject, **more})
            put.put(f"{subject}/{subject}_scans.tsv", as_tsv(rows, ("filename",)))
        rows = [row for subject in self._rows.values() for row in subject]
        put.put("participants.tsv", as_tsv(people, ("participant_id", "split")))
        put.put("participants.json", as_json(participants_json(people)))
        put.put("scans.json", as_json(columns_json(rows)))
        put.put("dataset_description.json", as_json(description_json(self.about, VERSION, rows)))
        put.put(f"{DERIVATIVES}/dataset_description.json", as_json(derivatives_json(self.about)))
        put.put("README", readme(about, people, rows))
        put.put("LICENSE", licence_text(about.licence, about.text))
        put.put(
            f"{DERIVATIVES}/README",
            f"{about.name}: what was made of its measured images; see README there.\n",
        )
        for place in (".bidsignore", f"{DERIVATIVES}/.bidsignore"):
            put.put(place, "sub-*/nm\nsub-*/nm/**\nSHA256SUMS\n")
        put.close()


def write_dataset(
    folder: Path | str, pairs: Iterable[Pair], about: About, participants: Sequence[Mapping[str, Any]] = ()
) -> dict[str, str]:
    """Write pairs as a dataset into a new folder; place -> SHA-256 of all its files.

    participants : rows with `subject`, `split` and whatever else is known of a source. Raises ConfigError without a
    licence, DataError for the first pair that cannot be written, and for a folder that holds something else.
    """
    writer = DatasetWriter(folder, about)
    for pair in pairs:
        writer.add(pair)
    writer.close(participants)
    return dict(writer.folder.sums)
