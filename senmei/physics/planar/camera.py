"""The planar camera: an activity sheet in, expected counts on the camera's matrix out, and counts drawn of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import ConfigError, DataError, nearest
from senmei.core.volume import Volume
from senmei.physics.gamma_camera import GammaCamera
from senmei.physics.planar.blur import BlurAndBin
from senmei.physics.planar.corrections import MODELS, observed_rate, seconds_for_counts
from senmei.physics.planar.nuclides import Nuclide, nuclide
from senmei.physics.planar.response import Response, planar_response
from senmei.physics.planar.sheet import plane_of, sheet_affine
from senmei.physics.spect.counts import draw_counts as _draw

if TYPE_CHECKING:
    from senmei.physics.planar.fit import CameraFit

FIELD_MM = 613.8  # of an e.cam's matrix at zoom 1 (assumed): 512 pixels at zoom 1.78 are then of 0.673 mm


@dataclass(frozen=True)
class PlanarCamera:
    """A gamma camera looking at a thin sheet, as it was set for one acquisition. Defaults: an e.cam with Tc-99m.

    collimator, nuclide : names in `COLLIMATORS` and `NUCLIDES`. distance_mm : from the collimator's face to the sheet.
    layer_mm : water-equivalent layer on the sheet, toward the camera. intrinsic_fwhm_mm : of crystal and electronics.
    matrix, zoom : of the image, which is square; together they give the pixel. pixel_mm : if given (a header's), it
    must agree with matrix and zoom to 2 %. field_mm : of the matrix at zoom 1. time_s : of the acquisition.
    window : full width of the photopeak window as a fraction; None is the nuclide's usual one.
    background_cps_per_cm2 : uniform counts from elsewhere. dead_time_us : of the whole crystal, 0 is none.
    measured : a response that replaces the computed one, e.g. of `fit_camera`.

    The response is that of `response.planar_response`. Raises ConfigError for values that are impossible.
    """

    collimator: str = "LEHR"
    nuclide: str = "Tc-99m"
    distance_mm: float = 100.0
    layer_mm: float = 0.0
    intrinsic_fwhm_mm: float = 3.8
    matrix: int = 512
    zoom: float = 1.78
    pixel_mm: float | None = None
    field_mm: float = FIELD_MM
    time_s: float = 600.0
    window: float | None = None
    background_cps_per_cm2: float = 0.0
    dead_time_us: float = 0.0
    dead_time_model: str = MODELS[0]
    measured: Response | None = None

    def __post_init__(self):
        nuclide(self.nuclide)
        limits = {
            "distance_mm": (0.0, 1000.0),
            "layer_mm": (0.0, 500.0),
            "matrix": (2, 4096),
            "zoom": (0.1, 20.0),
            "field_mm": (10.0, 2000.0),
            "time_s": (1e-6, 1e7),
            "background_cps_per_cm2": (0.0, 1e6),
            "dead_time_us": (0.0, 1e3),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise _bad(
                    name, f"impossible value {value!r}", f"it must be a number from {low:g} to {high:g}"
                )
        if self.matrix != int(self.matrix):
            raise _bad("matrix", f"impossible value {self.matrix!r}", "an image has a whole number of pixels")
        observed_rate(1.0, self.dead_time_us, self.dead_time_model)
        self.gamma_camera()
        wanted = self.field_mm / (self.matrix * self.zoom)
        pixel = self.pixel_mm
        if pixel is not None and not (isinstance(pixel, int | float) and abs(pixel / wanted - 1) <= 0.02):
            raise _bad(
                "pixel_mm",
                f"pixels of {pixel} mm contradict matrix and zoom",
                f"{self.matrix} pixels at zoom {self.zoom:g} of a {self.field_mm:g} mm field are of {wanted:.4g} mm",
                "correct the one of the three that is wrong; headers often keep the pixel of zoom 1",
            )

    @property
    def image_pixel_mm(self) -> float:
        """Edge of a pixel of the image, mm: `pixel_mm`, or field / (matrix zoom)."""
        return self.field_mm / (self.matrix * self.zoom) if self.pixel_mm is None else float(self.pixel_mm)

    @property
    def response(self) -> Response:
        """The measured response, or the computed one."""
        return self.measured if self.measured is not None else self.computed_response()

    @property
    def psf_fwhm_mm(self) -> float:
        """FWHM of the unscattered photons' spread at the sheet's distance, mm."""
        return self.response.fwhm_mm

    @property
    def counts_per_mbq(self) -> float:
        """Counts that a MBq at the start of the acquisition gives in it: sensitivity x time x mean activity."""
        return self.response.sensitivity_cps_per_mbq * self.time_s * self._nuclide.mean_activity(self.time_s)

    @property
    def _nuclide(self) -> Nuclide:
        return nuclide(self.nuclide)

    def gamma_camera(self) -> GammaCamera:
        """Detector and collimator at the nuclide's energy, in its window."""
        n = self._nuclide
        window = n.window if self.window is None else self.window
        return GammaCamera(self.collimator, self.intrinsic_fwhm_mm, n.energy_kev, window, n.energy_resolution)

    def computed_response(self) -> Response:
        """The response that follows from collimator, nuclide, distance and layer."""
        return planar_response(self.gamma_camera(), self._nuclide, self.distance_mm, float(self.layer_mm))

    def expected(self, activity: Volume) -> Volume:
        """Expected counts (matrix, matrix, 1) float32 of a sheet's activity (x, y, 1), MBq per pixel at the start.

        Both grids are centred on the world's origin; pixels need not nest. What spreads beyond the image is lost. Dead
        time takes its share of all pixels alike, at the acquisition's mean rate of all that the sheet sends. Raises
        DataError for an activity that is negative, not finite, or not on a centred grid of square pixels.
        """
        plane, pixel = plane_of(activity)
        response, image = self.response, self.image_pixel_mm
        blur = BlurAndBin(
            (plane.shape[0], plane.shape[1]), pixel, response.components(), (self.matrix, self.matrix), image
        )
        counts = blur.forward(plane) * self.counts_per_mbq
        background = self.background_counts
        rate = (float(plane.sum()) * self.counts_per_mbq + background * self.matrix**2) / self.time_s
        live = 1.0
        if self.dead_time_us > 0 and rate > 0:
            live = observed_rate(rate, self.dead_time_us, self.dead_time_model) / rate
        data = ((counts + background) * live).astype(np.float32)[..., None]
        return Volume(data, sheet_affine((self.matrix, self.matrix), image))

    @property
    def background_counts(self) -> float:
        """Counts of the background in a pixel of the image, before dead time."""
        return self.background_cps_per_cm2 * self.time_s * (self.image_pixel_mm / 10.0) ** 2

    def binned(self, factor: int) -> PlanarCamera:
        """The same acquisition on a matrix of `factor` times larger pixels. Raises ConfigError if none divides."""
        if factor != int(factor) or factor < 1 or self.matrix % int(factor):
            why = f"{factor} does not divide {self.matrix}"
            raise _bad(
                "matrix", f"pixels cannot be binned by {factor}", why, "choose a divisor of the matrix"
            )
        pixel = None if self.pixel_mm is None else self.pixel_mm * factor
        return replace(self, matrix=self.matrix // int(factor), pixel_mm=pixel)

    def time_for_maximum(self, activity: Volume, counts: float) -> float:
        """Seconds until the brightest pixel of the image is expected to have so many counts, decay included.

        Raises DataError where it never will: the sheet has decayed before, or holds nothing.
        """
        short = replace(self, time_s=1.0)
        brightest = float(short.expected(activity).data.max())
        background = short.background_counts
        signal = max(brightest - background, 0.0) / self._nuclide.mean_activity(1.0)
        seconds = seconds_for_counts(self.nuclide, signal, background, counts)
        if math.isinf(seconds):
            raise DataError(
                "This sheet cannot give so many counts",
                where=f"{counts:g} counts in a pixel of {self.image_pixel_mm:.3g} mm",
                why=f"its brightest pixel starts with {signal:.3g} counts/s and {self.nuclide} decays before",
                fix="print with more activity, bin the pixels, or accept fewer counts",
            )
        return seconds

    def role(self, factor: int) -> dict[str, Any]:
        """What restoring methods are told of this camera, whose pixels are `factor` times the reference's (JSON).

        fwhm_mm, scatter_fraction, scatter_fwhm_mm, penetration_fraction, penetration_fwhm_mm as in `Response`;
        sensitivity in cps/MBq; background in counts per pixel of this camera. `BlurAndBin.of_camera` reads it.
        """
        r = asdict(self.response)
        sensitivity = r.pop("sensitivity_cps_per_mbq")
        settings = {
            k: getattr(self, k) for k in ("nuclide", "collimator", "distance_mm", "layer_mm", "time_s")
        }
        return {
            "factor": int(factor),
            "pixel_mm": self.image_pixel_mm,
            **r,
            "sensitivity": sensitivity,
            "background": self.background_counts,
            **settings,
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PlanarCamera:
        """The camera of a dictionary; what it leaves out has its default. Raises ConfigError for unknown keys."""
        _known(values, cls, "planar camera")
        values = dict(values)
        if values.get("measured") is not None and not isinstance(values["measured"], Response):
            _known(values["measured"], Response, "planar camera: measured")
            values["measured"] = Response(**values["measured"])
        return cls(**values)

    @classmethod
    def from_fit(cls, fit: CameraFit, **settings: Any) -> PlanarCamera:
        """The camera that a fit of measured sheets found; `settings` as of `PlanarCamera`, background of the fit."""
        return cls(
            **{"background_cps_per_cm2": fit.background_cps_per_cm2, **settings, "measured": fit.response}
        )


def draw_counts(expected: Volume, rng: np.random.Generator) -> Volume:
    """Poisson counts (x, y, 1) int32 of expected ones. Raises DataError for what cannot be an expectation."""
    return expected.like(_draw(expected.data, rng))


def _known(values: Mapping[str, Any], kind: type, where: str) -> None:
    if not isinstance(values, Mapping):
        why = f"it is {values!r}, not a set of named values"
        raise ConfigError("no description of a camera", where=where, why=why, fix="give names and values")
    known = {f.name: f.default is MISSING for f in fields(kind)}
    for key in values:
        if key not in known:
            why, fix = "a camera has no such setting", nearest(key, known)
            raise ConfigError(f"unknown setting '{key}'", where=where, why=why, fix=fix)
    for key, required in known.items():
        if required and key not in values:
            raise ConfigError(f"'{key}' is missing", where=where, why="it has no default", fix="give it")


def _bad(name: str, what: str, why: str, fix: str = "correct the description of the camera") -> ConfigError:
    return ConfigError(what, where=f"planar camera: {name}", why=why, fix=fix)
