"""The image toy with a way back: restored images as files, one a scan or a header and its data."""

import json

from senmei.core.errors import DataError
from tests.contract.image import Shrunk


class Clinic(Shrunk):
    title = "Toy: files for whoever gave the scans"

    def export(self, scan, restored, raw, cohort, facts):
        if scan["subject"] == cohort.get("lost"):
            raise DataError(
                "Cannot write an image", where=scan["scan"], why="its orbit is lost", fix="find it"
            )
        image = raw("image")
        assert image.shape == restored.shape
        told = {k: facts[k] for k in ("method", "derivation", "keys")} | {"dose": scan["dose"]}
        header = json.dumps(told, sort_keys=True).encode()
        if facts["format"] == "interfile":
            return {".hv": header, ".v": restored.data.tobytes()}
        return {".dcm": header + b"\n" + restored.data.tobytes()}


CONFIG = {
    "use": "tests.contract.clinic:Clinic",
    "shards": 1,
    "cohorts": {
        "learn": {
            "use": "train", "source": "simulate", "subjects": 2,
            "split": {"train": 0.5, "validation": 0.5, "test": 0},
        },
        "clinic": {
            "use": "test", "source": "simulate", "subjects": 3, "lost": "sub-002",
            "export": {"format": "dicom"},
        },
    },
    "degradation": {"doses": [50, 25]},
    "methods": {"rescale": {"use": "tests.contract.image:Rescale"}},
    "measures": {"error": {"use": "tests.contract.image:error"}},
}  # fmt: skip
