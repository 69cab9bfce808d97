"""Methods that only show when they run: the learned ones fail where two run at once, all wait for one of the others."""

import time
from pathlib import Path

import numpy as np

from senmei.core.errors import DataError
from senmei.core.method import Method

PATIENCE = 120.0  # seconds until the others are given up


class Sleeper(Method):
    """Fits once a method of the other family is seen to fit as well. folder : where they tell of it. hold : seconds."""

    title = "Sleeper"

    def __init__(self, folder="", hold=2.0):
        self.folder, self.hold = Path(folder), hold

    def fit(self, train, validation, context):
        self.folder.mkdir(parents=True, exist_ok=True)
        mine = self.folder / self.family
        if self.family == "learned" and mine.exists():
            raise DataError("Two at once", where=mine, why="a GPU is one job's", fix="none")
        mine.touch()
        other = self.folder / ("classical" if self.family == "learned" else "learned")
        until = time.monotonic() + PATIENCE
        while not other.exists() and time.monotonic() < until:
            time.sleep(0.05)
        if not other.exists():
            raise DataError("Nobody else runs", where=other, why="cores are free meanwhile", fix="none")
        time.sleep(self.hold)
        if self.family == "learned":
            mine.unlink()
        return {"nothing": np.zeros(1, np.float32)}


class OnGPU(Sleeper):
    family = "learned"


class OnCores(Sleeper):
    family = "classical"
