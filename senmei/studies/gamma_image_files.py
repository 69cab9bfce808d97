"""Planes of a nuclear-medicine file as images of the study `gamma_sr`: counts, and what is told or assumed of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from senmei.core.errors import DataError
from senmei.core.study import Row
from senmei.core.volume import Volume
from senmei.studies.gamma_conditions import LARGEST_MM

if TYPE_CHECKING:
    from senmei.io.dicom_nm import NMSeries
    from senmei.io.projections import PlanarImage

LARGEST = 4096  # pixels a side of what is restored: memory stays below 2 GB
SMALLEST = 8  # pixels a side of what is measured
NUCLIDES = ("Tc-99m", "I-123", "Tl-201", "I-131")  # whose photons the planar camera knows
ASSUMED = {"nuclide": "Tc-99m", "collimator": "LEHR", "distance_mm": 100.0, "layer_mm": 0.0}
ODD = (0.7, 1.4)  # noise beyond these, relative to photon counts', is none of theirs


def remarks(image: Row) -> list[str]:
    """Why the values of a listed image are no counts as a camera gives them, a few words each; [] for none."""
    said = []
    if image["lossy"]:
        said.append("packed with loss" + (f", {image['lossy_ratio']:g} : 1" if image["lossy_ratio"] else ""))
    ratio, told = image["noise_ratio"], image.get("counts_told")
    if ratio is not None and not ODD[0] <= ratio <= ODD[1]:
        said.append(f"its finest noise has {ratio:.2g} times the variance of photon counts")
    if told and abs(image["counts_found"] / told - 1) > 0.02:
        said.append(
            f"its values sum to {100 * image['counts_found'] / told:.1f} % of the counts that its header tells"
        )
    return said


def planes_of(
    series: NMSeries, cohort: Mapping[str, Any], title: str, name: Mapping[str, Any]
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """(row, roles) of each plane of a file that the cohort wants. Raises DataError for what cannot be used."""
    from senmei.io.dicom_nm import read_nm
    from senmei.io.names import stem
    from senmei.io.projections import PlanarImage
    from senmei.lab.scans import sheet_images
    from senmei.physics.planar.counting import binned, noise_ratio
    from senmei.physics.spect.energy_windows import choose_window

    read = read_nm(series.path, where=title, window=levels_of(cohort))
    assert isinstance(read, PlanarImage)  # of its kinds nothing else is read
    camera, assumed = _told(read, cohort, title)
    number, _ = choose_window(read.windows, camera["nuclide"], cohort["window"], title)
    factor = int(cohort["bin"])
    alike = Counter(read.views)
    for at, (view, plane) in enumerate(zip(read.views, sheet_images(read, number), strict=True)):
        shown = view or "unknown"
        if cohort["views"] and shown not in cohort["views"]:
            continue
        counts = plane.data[..., 0]
        _check_size(counts.shape, plane.voxel[0], cohort, title)
        acq = f"{shown}{at + 1 if alike[view] > 1 else ''}"
        small = np.ascontiguousarray(binned(counts, factor), np.float32)
        window = read.windows[number]
        row = {
            "image": stem(name["subject"], name["session"], name["run"], acq),
            **name,
            "view": shown,
            "pixel_mm": round(float(plane.voxel[0]) * factor, 4),
            "time_s": round(read.duration_s, 3) or None,
            **camera,
            "assumed": assumed,
            "lossy": bool(read.facts["lossy"]),
            "lossy_ratio": read.facts["lossy_ratio"],
            "noise_ratio": round(noise_ratio(counts), 4) if small.any() else None,  # as stored, not as binned
            "counts_found": int(counts.sum(dtype=np.int64)),
            "counts_told": read.facts["counts_told"] if len(read.views) == len(read.windows) == 1 else None,
        }
        facts = {
            **{k: camera[k] for k in ("nuclide", "collimator")},
            "agent": read.agent,
            "window": [window.low_kev, window.high_kev],
            "view": view,
            "duration_s": read.duration_s,
            **{
                k: read.facts[k]
                for k in ("image_type", "lossy", "secondary_capture", "derived", "counts_told")
            },
        }
        yield row, {"counts": _coarser(plane, small, factor), "facts": facts}


def _told(read: PlanarImage, cohort: Mapping[str, Any], title: str) -> tuple[Row, str]:
    """What the camera was, from the cohort, else the file, else assumed; and what was assumed, in words."""
    camera: Row = {}
    assumed = []
    for name, usual in ASSUMED.items():
        camera[name] = cohort[name] if cohort[name] is not None else getattr(read, name, "") or usual
        if cohort[name] is None and not getattr(read, name, ""):
            assumed.append(f"{name.removesuffix('_mm')} {f'{usual:g} mm' if name.endswith('_mm') else usual}")
    if camera["nuclide"] not in NUCLIDES:
        raise DataError(
            "No planar camera is known for this nuclide",
            where=title,
            why=f"it is {camera['nuclide']}; {', '.join(NUCLIDES)} are known",
            fix="leave it out with `series:`",
        )
    return {k: float(v) if k.endswith("_mm") else v for k, v in camera.items()}, ", ".join(assumed)


def _check_size(shape: tuple[int, ...], pixel: float, cohort: Mapping[str, Any], title: str) -> None:
    factor, bins = int(cohort["factor"]), int(cohort["bin"])
    why = fix = ""
    if any(n % bins for n in shape):
        why, fix = f"{bins} does not divide its {shape[0]} x {shape[1]} pixels", "choose another `bin`"
    elif min(shape) // bins < SMALLEST:
        why, fix = f"it has {shape[0]} x {shape[1]} pixels", f"give images of {SMALLEST} or more a side"
    elif max(shape) // bins * factor > LARGEST:
        why = (
            f"{max(shape) // bins} pixels a side become {max(shape) // bins * factor}; {LARGEST} are the most"
        )
        fix = "set a larger `bin`"
    elif pixel * bins > LARGEST_MM:
        why, fix = (
            f"its pixels would be of {pixel * bins:.3g} mm; {LARGEST_MM:g} are the most",
            "set a smaller `bin`",
        )
    if why:
        raise DataError("Cannot restore an image of this size", where=title, why=why, fix=fix)


def levels_of(cohort: Mapping[str, Any]) -> tuple[float, float] | None:
    """The energy window (keV) that the cohort gives, None for auto."""
    window = cohort["window"]
    return None if window == "auto" else (float(window[0]), float(window[1]))


def finer(low: Volume, data: np.ndarray, factor: int) -> Volume:
    """An image on the same field in pixels `factor` times smaller."""
    return _scaled(low, data, 1.0 / factor)


def _coarser(plane: Volume, data: np.ndarray, factor: int) -> Volume:
    return _scaled(plane, data, float(factor))


def _scaled(old: Volume, data: np.ndarray, ratio: float) -> Volume:
    affine = old.affine @ np.diag([ratio, ratio, 1.0, 1.0])
    affine[:2, 3] = old.affine[:2, 3] + old.affine[:2, :2] @ np.full(2, (ratio - 1.0) / 2.0)
    return Volume(np.ascontiguousarray(data)[..., None], affine)
