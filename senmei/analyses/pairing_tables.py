"""What the page shows of pairings: numbers of each way, and the report's figure of co-located pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from senmei.analyses.drawing import COLOURS, INK, LINE, panels, png
from senmei.core.seeds import derive_seed
from senmei.core.statistics import bootstrap_ci
from senmei.io.shown import Figure, Item, Note, Table

_TITLES = {"lut": "table, mean and SD", "affine": "affine", "monotone": "monotone"}
_COLOUR = dict(zip(_TITLES, (COLOURS[1], COLOURS[2], COLOURS[0]), strict=True))
_NUMBERS = {  # number -> (column, digits)
    "error": ("error, %", 1),
    "bias": ("mean error, %", 2),
    "offset": ("offset from the image, %", 2),
    "counts": ("expected / counted", 4),
    "deviance": ("deviance / noise", 2),
    "dilution": ("contrast, counted / expected", 3),
}


@dataclass
class Paired:
    """One scan: numbers by way and name, and what its figure needs. structure : variance beyond noise over mean."""

    scan: str
    subject: str
    structure: float
    numbers: dict[str, dict[str, float]]
    pictures: dict[str, Any] = field(default_factory=dict)


def pairing_items(
    found: Sequence[Paired], camera: Mapping[str, Any], seed: int, *, number: int
) -> list[Item]:
    """Table, figure and remark of one condition; the first scan is drawn. number : that its figure is named after."""
    setting = (
        f"{camera['nuclide']}, {camera['collimator']} at {camera['distance_mm']:g} mm, layer "
        f"{camera['layer_mm']:g} mm, {camera['time_s']:g} s, pixels of {camera['pixel_mm']:.3g} mm"
    )
    names = [name for name in _NUMBERS if any(name in p.numbers[way] for p in found for way in p.numbers)]
    told: dict[tuple[str, str], str] = {}
    rows = []
    for way, title in _TITLES.items():
        for name in names:
            told[way, name] = _interval(found, way, name, derive_seed(seed, "pairing", way, name))
        rows.append((title, *(told[way, name] for name in names)))
    subjects = len({p.subject for p in found})
    caption = (
        f"{setting}: mean and 95 % interval over {subjects} subject{'' if subjects == 1 else 's'} "
        f"({len(found)} scan{'' if len(found) == 1 else 's'})"
    )
    drawn = found[0]
    table = Table(caption, ("way", *(_NUMBERS[name][0] for name in names)), tuple(rows))
    known = "error" in names
    figure = Figure(
        f"pairing_{number}",
        _figure(drawn),
        f"{drawn.scan}. Left: counts of pixels against the grey of the teacher at the same place, and the curves that "
        f"each way makes of them{'; black: the truth' if known else ''}. Middle: mean and standard deviation within "
        "the print, of the table before and after they are set to the image's. Right: the line across the sheet with "
        "most structure.",
        f"Three panels: grey against counts with curves, mean and standard deviation of each way, a line: {setting}.",
    )
    return [table, figure, Note(_weakness(told, known=known, first=number == 0))]


def _weakness(told: Mapping[tuple[str, str], str], *, known: bool, first: bool) -> str:
    text = (
        "The table's known weakness: it sets the mean of the reference to the image's, from which counts that spread "
        "out of the print are missing, and its standard deviation to that of a blurred, noisy image; where few were "
        "counted, noise widens it, and what falls below 0 is cut, which raises the mean. "
        if first
        else ""
    )
    text += (
        f"Here the table's offset from the image is {told['lut', 'offset']} %, and through the camera its reference "
        f"would give {told['lut', 'counts']} of the counts that were counted; monotone {told['monotone', 'counts']}."
    )
    if known:
        text += (
            f" Against the truth the table's mean is off by {told['lut', 'bias']} %, monotone's by "
            f"{told['monotone', 'bias']} %."
        )
    return text


def _interval(found: Sequence[Paired], way: str, name: str, seed: int) -> str:
    values: dict[str, list[float]] = {}
    for paired in found:
        if name in paired.numbers[way]:
            values.setdefault(paired.subject, []).append(paired.numbers[way][name])
    interval = bootstrap_ci(values, seed)
    if interval is None:
        return "–"
    digits = _NUMBERS[name][1]
    numbers = (interval.mean, *(interval.ci or ()))
    mean, *ends = (f"{round(value, digits) + 0.0:.{digits}f}" for value in numbers)  # no -0.00
    return f"{mean} ({ends[0]} to {ends[1]})" if ends else mean


def _figure(paired: Paired) -> bytes:
    p = paired.pictures
    with panels(10.4, 3.6, 1, 3) as (figure, axes):
        _curves(axes[0], p)
        _moments(axes[1], p)
        _line(axes[2], p)
        return png(figure)


def _curves(axes: Any, p: Mapping[str, Any]) -> None:
    axes.plot(p["points"]["grey"], p["points"]["counts"], ".", color=LINE, markersize=1.5, alpha=0.35)
    if p["truth"] is not None:
        inside = p["inside"]
        grey, counts = p["teacher"][inside], p["truth"][inside] - p["background"]
        order = np.argsort(grey)[:: max(1, grey.size // 200)]
        axes.plot(grey[order], counts[order], color=INK, linewidth=3.5, alpha=0.6, label="truth")
    for way, found in p["ways"].items():
        axes.plot(found.grey, found.counts, color=_COLOUR[way], linewidth=1.6, label=_TITLES[way])
    lut = p["ways"]["lut"]
    axes.plot(lut.grey, lut.before, "--", color=_COLOUR["lut"], linewidth=1.1, label="table, before")
    highest = max(
        float(np.quantile(p["points"]["counts"], 0.999)), *(c.counts.max() for c in p["ways"].values())
    )
    axes.set_ylim(0, 1.05 * highest)
    axes.set_title("co-located pixels")
    axes.set_xlabel("grey of the teacher")
    axes.set_ylabel("counts a reference pixel")
    axes.grid(visible=True)
    axes.legend(fontsize=7.5)


def _moments(axes: Any, p: Mapping[str, Any]) -> None:
    inside, lut = p["inside"], p["ways"]["lut"]
    before = np.interp(p["teacher"][inside], lut.grey, lut.before) + p["background"]
    rows = [("counted", p["measured"][inside], LINE), ("table, before", before, _COLOUR["lut"])]
    rows += [(_TITLES[w], f.reference.data[..., 0][inside], _COLOUR[w]) for w, f in p["ways"].items()]
    if p["truth"] is not None:
        rows.append(("truth", p["truth"][inside], INK))
    for at, (_, values, colour) in enumerate(rows):
        mean, spread = float(values.mean()), float(values.std())
        axes.errorbar(mean, at, xerr=spread, fmt="o", color=colour, capsize=3, linewidth=1.6, markersize=4)
    axes.axvline(
        float(rows[-1 if p["truth"] is not None else 0][1].mean()), color=LINE, linewidth=1, linestyle=":"
    )
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title("mean and SD in the print")
    axes.set_xlabel("counts a reference pixel")
    axes.grid(visible=True, axis="x")


def _line(axes: Any, p: Mapping[str, Any]) -> None:
    shown = p["ways"]["monotone"].reference.data[..., 0] if p["truth"] is None else p["truth"]
    line = int(np.argmax(shown.var(axis=0)))
    x = (np.arange(shown.shape[0]) - (shown.shape[0] - 1) / 2) * p["pixel_mm"]
    axes.plot(x, p["measured"][:, line], color=LINE, linewidth=0.9, drawstyle="steps-mid", label="counted")
    if p["truth"] is not None:
        axes.plot(x, p["truth"][:, line], color=INK, linewidth=3, alpha=0.5, label="truth")
    for way in ("lut", "monotone"):
        axes.plot(
            x, p["ways"][way].reference.data[:, line, 0], color=_COLOUR[way], linewidth=1, label=_TITLES[way]
        )
    axes.set_title(f"the line at y = {(line - (shown.shape[1] - 1) / 2) * p['pixel_mm']:.0f} mm")
    axes.set_xlabel("x, mm")
    axes.grid(visible=True)
    axes.legend(fontsize=7.5)
