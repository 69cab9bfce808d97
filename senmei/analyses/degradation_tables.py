"""What the page shows of a fitted camera: its numbers, images with what is left of them, and how good it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from senmei.analyses.drawing import COLOURS, INK, LINE, panels, picture, png
from senmei.io.shown import Figure, Item, Note, Table
from senmei.physics.planar.fit import CameraFit
from senmei.physics.planar.fit_model import NAMES, SheetPair
from senmei.physics.planar.goodness import in_blocks

_WORDS = {
    "fwhm_mm": "resolution (FWHM), mm",
    "scatter_fraction": "scatter fraction",
    "scatter_fwhm_mm": "spread of scatter (FWHM), mm",
    "sensitivity_cps_per_mbq": "sensitivity, cps/MBq",
    "background_cps_per_cm2": "background, cps/cm²",
}
CLOSE = 0.015  # error beyond noise, of blocks, as a share of their counts
_CLASSES = 14  # of expected counts


def z_of(fit: CameraFit, truth: Mapping[str, float]) -> dict[str, float]:
    """How far each fitted number is from `truth`, in standard errors; only of numbers that have one."""
    return {
        name: (fit.values[name] - truth[name]) / fit.errors[name]
        for name in fit.free
        if math.isfinite(fit.errors[name]) and fit.errors[name] > 0
    }


def fit_items(
    fit: CameraFit,
    pairs: Sequence[SheetPair],
    camera: Mapping[str, Any],
    truth: Mapping[str, float],
    tag: str,
    file: str,
    tone: tuple[float, float] | None = None,
) -> list[Item]:
    """Table, figure and remarks of one setting. truth : by `NAMES`, true where `camera["simulated"]`, else computed.

    tone : exponent of ink against grey and its standard error, where they were fitted.
    """
    setting = (
        f"{camera['nuclide']}, {camera['collimator']} at {camera['distance_mm']:g} mm, layer "
        f"{camera['layer_mm']:g} mm, pixels of {camera['pixel_mm']:.3g} mm"
    )
    g = fit.goodness
    lack = max(g.chi2_z, g.block_z, abs(g.lag1_z))
    verdict = (
        f"{_verdict(fit)}: chi² per pixel {g.chi2_per_dof:.3f} (z {g.chi2_z:+.1f}), per block of "
        f"{g.block_mm:.0f} mm {g.block_chi2:.2f} (z {g.block_z:+.1f}), correlation of neighbours {g.lag1:+.3f} "
        f"(z {g.lag1_z:+.1f}), deviance per degree of freedom {g.deviance_per_dof:.2f}, error beyond noise "
        f"{100 * g.misfit:.1f} %. Largest z {lack:.1f}, limit 4. For degradation.camera: {file}."
    )
    items: list[Item] = [
        _table(fit, camera, truth, setting, len(pairs), tone),
        Note(verdict, flag=not g.good),
        Figure(
            f"fit_{tag}",
            _figure(fit, pairs),
            f"{setting}. The sheet with most structure: counted, fitted, and what is left in standard deviations of "
            "the counting noise (the whole range is ±4); the line across it with most structure, its band one "
            f"standard deviation; all {len(pairs)} sheets: counted over fitted by classes of the fitted counts, and "
            "residuals of blocks against the normal curve.",
            f"Six panels: counted and fitted image, residuals, profile, ratio and histogram: {setting}.",
        ),
    ]
    return items + [Note(text, flag=True) for text in fit.warnings if "does not explain" not in text]


def _verdict(fit: CameraFit) -> str:
    """In words. Where many were counted, any model shows its limits: what matters then is how large they are."""
    if fit.goodness.good:
        return "Good"
    return "Close, but not noise alone" if fit.goodness.misfit < CLOSE else "Not good"


def _table(
    fit: CameraFit,
    camera: Mapping[str, Any],
    truth: Mapping[str, float],
    setting: str,
    sheets: int,
    tone: tuple[float, float] | None,
) -> Table:
    simulated, z = camera["simulated"], z_of(fit, truth)
    rows = []
    for name in NAMES:
        error = fit.errors[name]
        told = "held" if name not in fit.free else f"{error:.2g}" if math.isfinite(error) else "at its limit"
        distance = f"{z[name]:+.1f}" if name in z else "–"
        rows.append((_WORDS[name], f"{fit.values[name]:.4g}", told, f"{truth[name]:.4g}", distance))
    if tone is not None:
        told = f"{tone[1]:.2g}" if math.isfinite(tone[1]) else "at its limit"
        rows.append(("ink against grey, exponent", f"{tone[0]:.4g}", told, "–", "–"))
    columns = ("number", "fitted", "standard error", "true" if simulated else "computed", "z")
    caption = (
        f"{setting}: {sheets} sheet{'' if sheets == 1 else 's'}, {'simulated' if simulated else 'measured'}"
    )
    return Table(caption, columns, tuple(rows))


def _figure(fit: CameraFit, pairs: Sequence[SheetPair]) -> bytes:
    structure = [float(e.data.var() / max(e.data.mean(), 1e-9)) for e in fit.expected]
    most = int(np.argmax(structure))  # signal over noise
    counts = np.asarray(pairs[most].counts.data[..., 0], np.float64)
    expected, pixel = fit.expected[most].data[..., 0], pairs[most].counts.voxel[0]
    with panels(10.2, 6.3, 2, 3) as (figure, axes):
        window = {"vmin": 0.0, "vmax": float(max(counts.max(), 1.0)), "cmap": "gray_r"}
        picture(axes[0], counts, pixel, "counted, counts a pixel", **window)
        drawn = picture(axes[1], expected, pixel, "fitted", **window)
        line = int(np.argmax(expected.var(axis=0)))
        at = (line - (expected.shape[1] - 1) / 2) * pixel
        axes[1].axhline(at, color=COLOURS[1], linewidth=0.8)
        figure.colorbar(drawn, ax=axes[1], shrink=0.75)
        left = picture(
            axes[2], fit.residuals[most].data[..., 0], pixel, "(counted - fitted) / noise", vmin=-4, vmax=4,
            cmap="RdBu_r",
        )  # fmt: skip
        figure.colorbar(left, ax=axes[2], shrink=0.75)
        _profile(axes[3], counts[:, line], expected[:, line], pixel, at)
        _ratio(axes[4], fit, pairs)
        _histogram(axes[5], fit, pairs)
        return png(figure)


def _profile(axes: Any, counts: NDArray, expected: NDArray, pixel: float, at: float) -> None:
    x = (np.arange(len(counts)) - (len(counts) - 1) / 2) * pixel
    spread = np.sqrt(expected)
    axes.fill_between(x, expected - spread, expected + spread, color=COLOURS[1], alpha=0.25, linewidth=0)
    axes.plot(x, expected, color=COLOURS[1], linewidth=1.4, label="fitted")
    axes.plot(x, counts, ".", color=INK, markersize=4, label="counted")
    axes.set_title(f"the line at y = {at:.0f} mm")
    axes.set_xlabel("x, mm")
    axes.set_ylabel("counts a pixel")
    axes.grid(visible=True)
    axes.legend()


def _ratio(axes: Any, fit: CameraFit, pairs: Sequence[SheetPair]) -> None:
    m = np.concatenate([e.data.ravel() for e in fit.expected]).astype(np.float64)
    n = np.concatenate([pair.counts.data.ravel() for pair in pairs]).astype(np.float64)
    order = np.argsort(m, kind="stable")
    sums = np.cumsum(m[order])
    # classes of equal expected counts, so that all are equally certain
    of = np.minimum((sums / sums[-1] * _CLASSES).astype(int), _CLASSES - 1)
    seen, told = (np.bincount(of, a[order], _CLASSES) for a in (n, m))
    number = np.maximum(np.bincount(of, minlength=_CLASSES), 1)
    keep = told > 0
    axes.axhline(1.0, color=LINE, linewidth=1)
    axes.errorbar(
        (told / number)[keep], (seen / np.maximum(told, 1e-9))[keep], yerr=(1 / np.sqrt(told[keep])), fmt="o",
        color=COLOURS[0], markersize=4, linewidth=1, capsize=2,
    )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_title("counted / fitted")
    axes.set_xlabel("fitted counts a pixel")
    axes.grid(visible=True)


def _histogram(axes: Any, fit: CameraFit, pairs: Sequence[SheetPair]) -> None:
    counts = [np.asarray(pair.counts.data[..., 0], np.float64) for pair in pairs]
    expected = [np.asarray(e.data[..., 0], np.float64) for e in fit.expected]
    used = [np.ones(c.shape, bool) for c in counts]
    n, m, _ = in_blocks(counts, expected, used, pairs[0].counts.voxel[0], fit.goodness.block_mm)
    z = (n - m) / np.sqrt(m) if n.size else np.zeros(0)
    edges = np.linspace(-6, 6, 37)
    axes.hist(np.clip(z, -5.99, 5.99), bins=edges, color=COLOURS[0], alpha=0.75)
    curve = np.exp(-(edges**2) / 2) / math.sqrt(2 * math.pi) * n.size * (edges[1] - edges[0])
    axes.plot(edges, curve, color=INK, linewidth=1.2)
    axes.set_title(f"blocks of {fit.goodness.block_mm:.0f} mm: residuals / noise")
    axes.set_xlabel("standard deviations")
    axes.set_ylabel("blocks")
