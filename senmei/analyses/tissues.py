"""Bias field and tissue classes, solved together."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from scipy import ndimage

from senmei.core.analysis import Analysis
from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.volume import Volume

CLASSES = ("csf", "gm", "wm")  # darkest first, as in T1-weighted scans
WORKING = 6000  # voxels of the brain on the grid where bias field and classes take turns
LEVELS, STEPS, TOLERANCE = 4, 20, 1e-5  # N4: B-spline refinements, iterations of each, convergence
SWEEPS = 3  # Atropos iterations
TAILS = (0.5, 99.5)  # percentiles: single bright vessels would draw a class of their own


class Tissues(Analysis):
    """Grey and white matter of the restored scan against exact labels, or else the reference scan's own.

    rounds : how often the bias field is estimated; from the second on, weighted by the white matter found.
    mrf : strength of Atropos' Markov random field prior. bias : False leaves the bias field in (for comparison).

    About 7 s a scan at 2 mm and 35 s at 1 mm on one core, twice that where the reference must be segmented too.
    Deterministic at a given number of ITK threads.
    """

    scope = "scan"
    requires = ("mask",)
    uses = ("labels", "reference")
    title = "Tissue classes"
    sentence = (
        "The bias field (N4) and three tissue classes (Atropos, k-means initialisation, Markov random field prior) "
        "were estimated in turns inside the brain, N4 weighted by the posterior of white matter."
    )
    references = (
        "Tustison et al. N4ITK: improved N3 bias correction. IEEE Trans Med Imaging 2010;29:1310.",
        "Avants et al. An open source multivariate framework for n-tissue segmentation. Neuroinformatics 2011;9:381.",
    )
    MEASURES = {
        "dice_gm": ("Grey matter Dice", "1", "higher"),
        "dice_wm": ("White matter Dice", "1", "higher"),
        "dice_csf": ("Cerebrospinal fluid Dice", "1", "higher"),
        "jaccard_gm": ("Grey matter Jaccard", "1", "higher"),
        "jaccard_wm": ("White matter Jaccard", "1", "higher"),
        "volume_gm": ("Grey matter volume", "mL", "none"),
        "volume_wm": ("White matter volume", "mL", "none"),
    }

    def __init__(self, *, rounds: int = 2, mrf: float = 0.2, bias: bool = True) -> None:
        if not (isinstance(rounds, int) and 1 <= rounds <= 10):
            raise ConfigError(
                "Unusable number of rounds",
                where="tissues: rounds",
                why=f"{rounds!r} is not a whole number from 1 to 10",
                fix="set rounds to 2 or 3",
            )
        if not 0 <= mrf <= 1:
            raise ConfigError(
                "Unusable strength of the prior",
                where="tissues: mrf",
                why=f"{mrf!r} is not between 0 and 1",
                fix="set mrf between 0.1 and 0.3",
            )
        self.rounds, self.mrf, self.bias = rounds, float(mrf), bias
        self._truths: dict[bytes, np.ndarray] = {}

    def run(self, example: Example, restored: Volume) -> dict[str, float]:
        """Dice and Jaccard per class, where there is a truth, and volumes in mL; nothing where no brain is known.

        The scan's column `mask_of` says what its mask bounds: 'foreground' is a whole head, or no head at all.
        Raises DataError if the mask is empty or on another grid, or the image is constant inside it.
        """
        if example.scan.get("mask_of") == "foreground":
            return {}
        where = str(example.scan.get("scan", "?"))
        brain = _on_grid(example["mask"], restored, where, "mask") > 0
        truth = None
        if "labels" in example:
            labels = _on_grid(example["labels"], restored, where, "labels")
            brain &= (labels >= 1) & (labels <= 4)
            truth = np.where(labels == 4, 2, labels).astype(np.uint8)  # deep grey matter is grey matter
        elif "reference" in example:
            truth = self._reference(example, restored, brain, where)
        found = self.classify(restored, brain, where)
        voxel = abs(float(np.linalg.det(restored.affine[:3, :3]))) / 1000
        values: dict[str, float] = {}
        for k, name in enumerate(CLASSES, start=1):
            ours = found == k
            if name != "csf":
                values[f"volume_{name}"] = float(ours.sum()) * voxel
            if truth is None:
                continue
            theirs = (truth == k) & brain
            both, either = int((ours & theirs).sum()), int((ours | theirs).sum())
            values[f"dice_{name}"] = 2 * both / (either + both) if either else float("nan")
            if name != "csf":
                values[f"jaccard_{name}"] = both / either if either else float("nan")
        return values

    def classify(self, volume: Volume, brain: np.ndarray, where: str = "image") -> np.ndarray:
        """(x, y, z) uint8: 0 outside `brain`, 1 CSF, 2 grey, 3 white matter. Raises DataError as `run`."""
        if volume.data.ndim != 3 or brain.sum() < 1000:
            raise DataError(
                "Cannot classify tissues",
                where=where,
                why=f"the image has shape {volume.shape}, its brain mask {int(brain.sum())} voxels",
                fix="give a 3D image and a brain mask of at least 1000 voxels",
            )
        box = ndimage.find_objects(brain.astype(np.uint8))[0]
        box = tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in box)
        inner = brain[box]
        data = volume.data[box].astype(np.float32)
        low, high = np.percentile(data[inner], TAILS)
        # N4 takes logarithms: nothing may be zero or negative, which a network's output can be.
        low = max(low, 1e-3 * high)
        if not (np.isfinite(high) and low < high):
            raise DataError(
                "Cannot classify tissues",
                where=where,
                why=f"inside the brain mask the image runs from {low:.3g} to {high:.3g}",
                fix="check that the image and its mask belong together",
            )
        data = np.clip(data, low, high)
        if self.bias:
            data = data / self._bias_field(data, inner, volume.voxel, where)
        labels = self._posteriors(data, inner, volume.voxel, where).argmax(axis=0) + 1
        full = np.zeros(volume.shape, np.uint8)
        full[box] = labels * inner
        return full

    def _bias_field(
        self, data: np.ndarray, brain: np.ndarray, voxel: tuple[float, ...], where: str
    ) -> np.ndarray:
        """Bias field (mean log 0 in the brain): N4 and Atropos in turns on a thinned grid, as it is smooth."""
        import ants

        step = max(1.0, float(brain.sum() / WORKING) ** (1 / 3))
        picked = [np.floor(np.arange(step / 2, n, step)).astype(int) for n in data.shape]
        thin, size = np.ix_(*picked), tuple(v * step for v in voxel)
        coarse, mask = data[thin], brain[thin]
        log = np.zeros_like(coarse)
        for turn in range(self.rounds):
            weights = None
            if turn:
                weights = _image(self._posteriors(coarse / np.exp(log), mask, size, where)[-1], size)
            field = ants.n4_bias_field_correction(
                _image(coarse, size),
                mask=_image(mask, size),
                weight_mask=weights,
                shrink_factor=1,
                convergence={"iters": [STEPS] * LEVELS, "tol": TOLERANCE},
                spline_param=[1, 1, 1],
                return_bias_field=True,
            ).numpy()
            log = np.log(np.maximum(field, np.finfo(np.float32).tiny))
            log -= log[mask].mean()  # the weights change N4's scale, which means nothing
        places = np.meshgrid(
            *[
                np.interp(np.arange(n), at, np.arange(at.size))
                for n, at in zip(data.shape, picked, strict=True)
            ],
            indexing="ij",
            sparse=True,
        )
        places = np.broadcast_arrays(*places)
        return np.exp(ndimage.map_coordinates(log, places, order=1, mode="nearest"))

    def _posteriors(
        self, data: np.ndarray, brain: np.ndarray, voxel: tuple[float, ...], where: str
    ) -> np.ndarray:
        """(class, x, y, z) posterior probabilities, darkest class first.

        Atropos starts from the three classes of least variance in all (Otsu's thresholds, found exhaustively): its own
        k-means can end in a poor optimum, where deep grey matter takes the class of the cortex.
        """
        import ants
        from skimage.filters import threshold_multiotsu

        cuts = threshold_multiotsu(data[brain], classes=len(CLASSES), nbins=96)
        start = np.digitize(data, cuts)
        start = [_image(np.where(start == k, 0.9, 0.05) * brain, voxel) for k in range(len(CLASSES))]
        with _own_temporary_folder():
            try:
                images = ants.atropos(
                    a=_image(data, voxel),
                    x=_image(brain, voxel),
                    i=start,
                    priorweight=0.0,
                    m=f"[{self.mrf},1x1x1]",
                    c=f"[{SWEEPS},0]",
                    r=0,  # the seed is fixed
                )["probabilityimages"]
            except Exception as error:  # ants raises nothing narrower
                raise DataError(
                    "Cannot classify tissues",
                    where=where,
                    why=f"Atropos failed: {error}",
                    fix="check that the image inside its mask shows three tissues",
                ) from error
        maps = np.stack([image.numpy() for image in images])
        means = [float((p * data).sum() / max(p.sum(), 1e-9)) for p in maps]
        return maps[np.argsort(means, kind="stable")]

    def _reference(self, example: Example, restored: Volume, brain: np.ndarray, where: str) -> np.ndarray:
        """Classes of the reference, kept for the next method that is judged against the same one."""
        reference = example["reference"]
        data = _on_grid(reference, restored, where, "reference")
        key = hashlib.sha256(np.ascontiguousarray(data).tobytes() + np.packbits(brain).tobytes()).digest()
        if key not in self._truths:
            while len(self._truths) >= 8:
                self._truths.pop(next(iter(self._truths)))
            self._truths[key] = self.classify(reference, brain, f"{where}: reference")
        return self._truths[key]


def _on_grid(volume: Volume, restored: Volume, where: str, role: str) -> np.ndarray:
    if volume.shape != restored.shape:
        raise DataError(
            f"The {role} does not fit the restored image",
            where=where,
            why=f"the grids are {volume.shape} and {restored.shape}",
            fix="bring both onto one grid when preparing",
        )
    return volume.data


def _image(data: np.ndarray, voxel: tuple[float, ...]):
    import ants

    return ants.from_numpy(np.ascontiguousarray(data, dtype=np.float32), spacing=list(voxel))


@contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """Atropos leaves its probability maps in the temporary folder: give it one that goes away."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="tissues-") as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before
