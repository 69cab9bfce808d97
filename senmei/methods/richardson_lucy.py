"""Richardson-Lucy through the whole camera: blur, scatter, penetration and binning, stopped early."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import ClassVar

import numpy as np

from senmei.core.method import FitContext
from senmei.methods.planar import Sheet
from senmei.methods.planar_tuned import Case, PlanarTuned
from senmei.methods.tuned import whole

_LEAST = 1e-6  # of an image's mean: divisions stay finite
_PATIENCE = 10  # iterations


def iterates(sheet: Sheet, accelerated: bool = False) -> Iterator[np.ndarray]:
    """The image after 1, 2, 3, ... iterations, (x, y) float32, without end."""
    camera, counts = sheet.camera(), sheet.counts
    least = np.float32(max(_LEAST * sheet.total / counts.size, 1e-12))  # also of a patch without a count
    sensitivity = np.maximum(camera.adjoint(np.ones_like(counts)), np.float32(1e-3))
    image = np.full(sheet.shape, max(counts.mean() - sheet.background, least) / sheet.factor**2, np.float32)
    before, latest, earlier = image, np.zeros_like(image), np.zeros_like(image)
    while True:
        at = image
        if accelerated:
            power = float((earlier**2).sum())
            along = float((latest * earlier).sum()) / power if power > 0 else 0.0
            at = np.maximum(image + np.float32(np.clip(along, 0, 1)) * (image - before), least)
        expected = camera.forward(at) + np.float32(sheet.background)
        made = at / sensitivity * camera.adjoint(counts / np.maximum(expected, least))
        before, image, latest, earlier = image, made, made - at, latest
        yield image


def deconvolved(sheet: Sheet, iterations: int, accelerated: bool = False) -> np.ndarray:
    """(x, y) float32 counts per restored pixel after a number of iterations (see `RichardsonLucy`)."""
    return next(islice(iterates(sheet, accelerated), iterations - 1, None))


class RichardsonLucy(PlanarTuned):
    """Maximum likelihood of Poisson counts by expectation maximisation, x <- x / A'1 · A'(y / (A x + b)).

    A is the camera (`Sheet.camera`: from the restored pixels to expected counts of the camera's), A' its adjoint, b the
    background; where A loses counts at the border, A'1 knows. It starts from an even image, not from `low`
    interpolated, whose noise would be there from the start, and is stopped before it fits the noise.
    [Richardson 1972, JOSA 62:55; Lucy 1974, AJ 79:745; with A'1: Shepp & Vardi 1982, IEEE TMI 1:113]

    iterations : whole number above 0; None (default): tuned on validation, 1 to `most`. accelerated : extrapolate
    along the last change [Biggs & Andrews 1997, Applied Optics 36:1766, eq. 5-8]: fewer iterations.
    Other settings: see `PlanarTuned`; of the search there is nothing to set, as each iteration is judged in passing.
    """

    title: ClassVar[str] = "Richardson-Lucy"
    sentence: ClassVar[str] = (
        "Richardson-Lucy deconvolution through the model of blur, scatter and binning was stopped after the number of "
        "iterations that was best on validation scans."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Richardson WH. Bayesian-based iterative method of image restoration. J Opt Soc Am 1972;62:55-59.",
        "Lucy LB. An iterative technique for the rectification of observed distributions. Astron J 1974;79:745-754.",
    )
    number: ClassVar[str] = "iterations"

    def __init__(
        self,
        iterations: int | None = None,
        most: int = 60,
        accelerated: bool = False,
        criterion: str = "psnr",
        examples: int = 6,
        keep_counts: str = "total",
        target: str = "reference",
    ) -> None:
        super().__init__(
            fixed=iterations, criterion=criterion, examples=examples, keep_counts=keep_counts, target=target
        )
        whole("most", most)
        if iterations is not None:
            whole("iterations", iterations)
        self.most, self.accelerated = int(most), bool(accelerated)

    def restore_at(self, sheet: Sheet, value: float) -> np.ndarray:
        """After a number of iterations (rounded)."""
        count = max(1, round(value))
        return deconvolved(sheet, count, self.accelerated)

    def _search(self, cases: list[Case], label: str, context: FitContext) -> tuple[float, float]:
        """Every iteration up to `most` is judged, or until ten in a row have brought nothing."""
        paths = [iterates(case.sheet, self.accelerated) for case in cases]
        best = (-np.inf, 1)
        for number in range(1, self.most + 1):
            score = float(np.mean([self.score(c, next(p)) for c, p in zip(cases, paths, strict=True)]))
            self.note(context, number, label, number, score)
            best = max(best, (score, number))
            if number - best[1] >= _PATIENCE:
                break
        return float(best[1]), best[0]
