"""Super-resolution by coupled dictionaries of patches, with regressions anchored at the atoms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext
from senmei.core.seeds import derive_seed
from senmei.methods.patch_dictionary import (
    Dictionary,
    anchored,
    details_of,
    features_of,
    learn,
    restored,
)
from senmei.methods.planar import PlanarMethod, Sheet, choose, judged_range, truth
from senmei.methods.planar_tuned import camera_distance, facts
from senmei.methods.tuned import whole

CODINGS = ("anchored", "sparse")
CAMERA = ("pixel_mm", "nuclide", "collimator")  # columns of scans.tsv that make one camera
_RIDGES = (0.03, 0.3, 1.0, 3.0)  # in units of the noise, of which validation chooses
_PARTS = ("basis", "branches", "branch", "atoms", "fine")


class DictionaryPlanar(PlanarMethod):
    """What bicubic interpolation lacks, patch by patch, from a coupled dictionary (`senmei.methods.patch_dictionary`).

    Each patch of `low`, less its mean and over its Poisson noise, finds the atom nearest in direction by a tree over
    the atoms, never looking at training patches; the regression anchored there, for patches that stand out of the
    noise as much, gives the 3 x 3 camera pixels around its middle. Overlapping results are averaged. As noise is the
    unit, one dictionary serves all count levels; each camera (pixel, nuclide, collimator) has its own regressions, with
    the ridge of the highest PSNR on validation, and an image takes those of the nearest camera.

    atoms : at most. patch : edge, camera pixels, odd. neighbours : training patches around an atom. probes : branches
    looked at. patches : training patches a camera, at most. coding : `anchored`, or `sparse`: orthogonal matching
    pursuit with `codes` atoms and the coupled fine dictionary (Yang 2010, Zeyde 2010): no regressions, and all atoms
    are looked at. Others: see `PlanarMethod`. Raises ConfigError for values that mean nothing.
    """

    title: ClassVar[str] = "Dictionary"
    family: ClassVar[str] = "classical"
    needs: ClassVar[tuple[str, ...]] = ("low", "reference", "camera")
    tunes_on: ClassVar[tuple[str, ...]] = ("low", "reference", "camera")
    sentence: ClassVar[str] = (
        "Coupled dictionaries of at most {settings[atoms]} atoms of {settings[patch]} x {settings[patch]} camera "
        "pixels ({settings[coding]} coding) added what bicubic interpolation lacks."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Yang J, Wright J, Huang TS, Ma Y. Image super-resolution via sparse representation. "
        "IEEE Trans Image Process 2010;19:2861-2873.",
        "Timofte R, De Smet V, Van Gool L. A+: adjusted anchored neighborhood regression for fast super-resolution. "
        "ACCV 2014;LNCS 9006:111-126.",
    )

    def __init__(
        self,
        atoms: int = 128,
        patch: int = 5,
        neighbours: int = 1024,
        probes: int = 3,
        patches: int = 40000,
        coding: str = "anchored",
        codes: int = 3,
        keep_counts: str = "total",
        target: str = "reference",
    ) -> None:
        super().__init__(keep_counts=keep_counts, target=target)
        sizes = {
            "atoms": atoms,
            "patch": patch,
            "neighbours": neighbours,
            "probes": probes,
            "patches": patches,
        }
        for name, value in {**sizes, "codes": codes}.items():
            whole(name, value)
        choose("coding", coding, CODINGS)
        if patch % 2 == 0 or patch < 3:
            raise ConfigError(
                "'patch' must be odd", where=f"patch: {patch}", why="it has a middle", fix="give 3, 5 or 7"
            )
        self.atoms, self.patch, self.neighbours = int(atoms), int(patch), int(neighbours)
        self.probes, self.patches, self.coding, self.codes = int(probes), int(patches), coding, int(codes)
        self._dictionary: Dictionary | None = None
        self._cameras, self._maps, self._factor = np.zeros((0, 3)), np.zeros(0), 0

    def fit(
        self, train: Sequence[Example], validation: Sequence[Example], context: FitContext
    ) -> Mapping[str, np.ndarray]:
        """Dictionary from `train`, ridges on `validation`. Raises DataError without scans, or for several factors."""
        groups: dict[tuple[str, ...], list[tuple[Sheet, np.ndarray]]] = defaultdict(list)
        for example in train:
            sheet = self.sheet(example)
            if sheet.scale > 0:
                groups[_camera(example)].append((sheet, truth(example, self.target, sheet)))
        factors = sorted({sheet.factor for pairs in groups.values() for sheet, _ in pairs})
        if len(factors) != 1:
            raise DataError(
                f"Cannot train {self.title}",
                where="training scans",
                why=f"their factors are {', '.join(map(str, factors))}; one dictionary serves one factor"
                if factors
                else "there are none with counts",
                fix="train on scans of one pixel size that show something",
            )
        rng = np.random.default_rng(derive_seed(context.seed, "dictionary"))
        patches = {name: self._patches(group, rng) for name, group in sorted(groups.items())}
        features, details = (np.concatenate([pair[i] for pair in patches.values()]) for i in (0, 1))
        dictionary = learn(features, details, atoms=self.atoms, codes=self.codes, rng=rng)
        context.log(f"{self.title}: {len(dictionary.atoms)} atoms of {len(features)} patches")
        weights = {name: np.asarray(getattr(dictionary, name)) for name in _PARTS}
        weights["branch"] = weights["branch"].astype(np.int32)
        weights["factor"] = np.array(factors, np.float32)
        if self.coding == "sparse":
            return weights
        chosen, table = [], []
        for name, (features, details) in patches.items():
            maps = anchored(features @ dictionary.basis.T, details, dictionary, self.neighbours, _RIDGES)
            cases = [e for e in validation if _camera(e) == name] or list(validation)
            chosen.append(maps[self._ridge(cases, dictionary, maps, name, context)])
            table.append(np.exp(np.mean([np.log(facts(sheet)[:3]) for sheet, _ in groups[name]], axis=0)))
        cameras = np.asarray(table, np.float32)
        return {**weights, "maps": np.stack(chosen).astype(np.float32), "cameras": cameras}

    def _patches(
        self, pairs: list[tuple[Sheet, np.ndarray]], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features and details, over the noise, of a camera's scans, drawn evenly, each scan in a turn of its own."""
        share = max(1, self.patches // len(pairs))
        parts = []
        for sheet, fine in pairs:
            turn = int(rng.integers(4))
            counts, full = np.rot90(sheet.counts, turn), np.rot90(fine, turn)
            rows = rng.permutation(counts.size)[:share]
            features, noise = features_of(counts, self.patch)
            details = details_of(full, counts, sheet.factor)
            parts.append((features[rows], details[rows] / noise[rows, None]))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _ridge(
        self,
        cases: Sequence[Example],
        dictionary: Dictionary,
        maps: np.ndarray,
        name: tuple[str, ...],
        context: FitContext,
    ) -> int:
        """Which ridge has the highest mean PSNR, dB, over validation scans; each is a row of the history."""
        scores = np.zeros(len(_RIDGES))
        used = 0
        for example in cases[:6]:
            sheet = self.sheet(example)
            if not sheet.scale > 0:
                continue
            used += 1
            target = truth(example, self.target, sheet)
            span = judged_range(example, target)
            for i in range(len(_RIDGES)):
                fine = self.finish(self._restored(sheet, dictionary, maps[i]), sheet)
                error = float(np.mean((fine - target) ** 2, dtype=np.float64))
                scores[i] += 10 * np.log10(span**2 / max(error, 1e-20))
        if not used:
            raise DataError(
                f"Cannot tune {self.title}",
                where="validation scans",
                why="there are none with counts, and the ridge is chosen on them",
                fix="give the training cohort a validation subject",
            )
        label = ", ".join(filter(None, name)) or "all scans"
        for ridge, score in zip(_RIDGES, scores / used, strict=True):
            context.history.append({"step": 1, "condition": label, "ridge": ridge, "psnr": float(score)})
        best = int(scores.argmax())
        context.log(f"{self.title}: {label}: ridge {_RIDGES[best]}, PSNR {scores[best] / used:.2f} dB")
        return best

    def load(self, weights: Mapping[str, np.ndarray], device: str = "cpu") -> None:
        """Take a fitted dictionary. Raises DataError if it is none of these settings."""
        wanted = (*_PARTS, "factor", *(("maps", "cameras") if self.coding == "anchored" else ()))
        missing = [name for name in wanted if name not in weights]
        if missing or weights["basis"].shape[1] != self.patch**2:
            raise DataError(
                f"The weights do not fit {self.title}",
                where="weights",
                why=f"'{missing[0]}' is missing" if missing else "their patches are of another size",
                fix="use the settings that it was fitted with, or fit it again",
            )
        self._dictionary = Dictionary(*(np.asarray(weights[name]) for name in _PARTS))
        self._factor = int(weights["factor"][0])
        if self.coding == "anchored":
            self._cameras, self._maps = np.asarray(weights["cameras"], float), np.asarray(weights["maps"])

    def restore(self, sheet: Sheet) -> np.ndarray:
        """(x, y) counts per restored pixel. Raises DataError for a factor that was not trained for."""
        self.refuse_unfit(sheet, self._factor if self._dictionary is not None else None)
        assert self._dictionary is not None
        maps = None
        if self.coding == "anchored":
            maps = self._maps[camera_distance(self._cameras, facts(sheet)[:3]).argmin()]
        return self._restored(sheet, self._dictionary, maps)

    def _restored(self, sheet: Sheet, dictionary: Dictionary, maps: np.ndarray | None) -> np.ndarray:
        return restored(sheet.counts, dictionary, maps, self.patch, sheet.factor, self.probes, self.codes)


def _camera(example: Example) -> tuple[str, ...]:
    return tuple(str(example.scan.get(name, "")) for name in CAMERA)
