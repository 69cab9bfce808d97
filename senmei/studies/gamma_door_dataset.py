"""`source: dataset` of the study `gamma_sr`: pairs that an earlier run, or somebody else, exported to hand on.

Each pair is a scan as it was: its roles and columns are taken over, nothing is imaged, paired or registered again.
Every file is proven by its checksum when it is listed and again when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from senmei.core.errors import DataError
from senmei.core.study import Listed, Row
from senmei.io.dataset_folder import read_sums
from senmei.lab.dataset_pair import NEEDED, is_synthetic
from senmei.lab.dataset_read import files_of, load_pair, read_dataset
from senmei.studies.gamma_doors import Door

GROUPS = {
    "input": ("low", "input", "camera"),
    "truth": ("reference", "mask", "expected"),
    "high": ("high",),
    "sheet": ("teacher", "activity"),
}


class DatasetDoor(Door):
    """Pairs of a folder that `senmei.lab.dataset` wrote."""

    def list_files(
        self, cohort: Mapping[str, Any], folder: Path, *, seed: int, log: Callable[[str], None]
    ) -> Listed:
        """Participants, one image a pair with all its columns, and a row for each pair that cannot be used.

        With `splits: given` the split of participants.tsv is kept. Raises DataError for a folder that is no dataset of
        pairs, is of another version, or whose tables were changed.
        """
        found = read_dataset(cohort["path"])
        images, repeats = [], dict.fromkeys((p["subject"] for p in found.participants), 0)
        for scan, columns in found.pairs.items():
            subject = scan.split("_")[0]
            repeats[subject] += 1
            places = files_of(scan, found.sums)
            files = {
                f"{role}_path": str(found.root / place) for role, place in places.items() if role != "low"
            }
            row = {"image": scan, "subject": subject, **columns}
            images.append(
                {**row, "repeat": repeats[subject], "path": str(found.root / places["low"]), **files}
            )
        given = cohort["splits"] == "given"
        people = [{k: v for k, v in p.items() if given or k != "split"} for p in found.participants]
        status = [
            {"scan": scan or None, "subject": subject, "status": "failed", "error": why}
            for scan, subject, why in found.failed
        ]
        log(f"{found.description['Name']}: {len(images)} pairs; licence: {found.description.get('License')}")
        return people, images, status

    def read(self, image: Row, cohort: Mapping[str, Any]) -> dict[str, Any]:
        """All roles of a pair, as they were handed on. Raises DataError for files that are missing or have changed."""
        root = Path(cohort["path"]).absolute()
        return dict(load_pair(root, str(image["image"]), read_sums(root), {}).roles)

    def prepare(
        self,
        group: str,
        scan: Row,
        raw: Callable[[str, str], Any],
        cohort: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Any], Row]:
        """Roles of one group, of those that the dataset has; all columns are the scan's already.

        Raises DataError where the reference answers another question than `degradation.restore` asks.
        """
        asked, told = settings.get("restore", "teacher"), scan.get("restore") or "teacher"
        if group == "truth" and asked != told:
            raise DataError(
                "The reference of this pair is for another question",
                where=scan["scan"],
                why=f"it was made to restore the {told}, and the study restores the {asked}",
                fix=f"set `degradation: {{restore: {told}}}`, or leave this dataset out",
            )
        roles: dict[str, Any] = {}
        for role in GROUPS.get(group, ()):
            try:
                roles[role] = raw(scan["image"], role)
            except KeyError:  # a measured pair has no `expected`, and few have `high`
                if role in NEEDED:
                    raise
        return roles, {}

    def case(self, images: Sequence[Row], cohort: Mapping[str, Any]) -> tuple[str, str]:
        """As it was told when the pairs were made."""
        simulated = sum(is_synthetic(image) is True for image in images)
        if simulated == len(images):
            return "phantom", "A dataset of simulated pairs, read as it was handed on."
        many = f"{len(images)} pairs of a dataset" + (f", {simulated} of them simulated" if simulated else "")
        return (
            "printed",
            f"{many}: the reference is the printed teacher, as it was paired when they were handed on.",
        )
