"""The heart of one scan as a nuclear-medicine physician reads it: short axis, polar maps, profiles, wall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from senmei.io.tables import Row
from senmei.report import pixels
from senmei.report.bullseye import SEGMENTS, Bullseye, bullseye
from senmei.report.figures import Chart
from senmei.report.files import StudyFiles, condition_label, condition_of
from senmei.report.heart_files import REFERENCE, Heart, has_heart, hearts
from senmei.report.look import Look
from senmei.report.scan import level_of, planted_in
from senmei.report.style import canvas, colours, encode

_SLICE_SIDE = 64  # pixels of one short-axis slice
_GAP = 2  # pixels between slices
_REFERENCE_COLOUR = "#1b2130"
_LEVELS = ((1, "basal"), (7, "mid"), (13, "apical"), (17, "apex"))


@dataclass(frozen=True)
class Strip:
    """Short-axis slices of one image, side by side from apex to base."""

    method: str
    title: str
    colour: str
    oracle: bool
    src: str
    alt: str
    width: float
    height: float


@dataclass
class HeartFigure:
    """Everything of one scan's heart."""

    cohort: str
    scan: str
    subject: str
    condition: str
    strips: list[Strip] = field(default_factory=list)
    slices: int = 0
    maps: list[Bullseye] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    windows: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes it adds to the page."""
        pictures = sum(len(strip.src) + len(strip.alt) for strip in self.strips)
        return pictures + sum(m.size for m in self.maps) + sum(chart.size for chart in self.charts)


def draw_heart(files: StudyFiles, cohort: str, row: Row, look: Look) -> HeartFigure | None:
    """The figure of one scan, all its images at one window; None where no analysis left anything of its heart."""
    scan = str(row["scan"])
    if not has_heart(files, cohort, scan):
        return None
    condition = condition_label(condition_of(row, files.conditions))
    figure = HeartFigure(cohort, scan, str(row.get("subject", "")), condition)
    found, figure.notes = hearts(files, cohort, scan)
    roles = files.roles(cohort, row)
    level, unit = level_of(row, roles.values()), look.unit
    if level is None:
        level, unit = _brightest(found), "the brightest segment"
    low, high = (bound * level for bound in look.window)
    figure.windows = (
        f"Images {look.window[0]:g} to {look.window[1]:g} × {unit}; segments in per cent of {unit}."
    )
    planted, notes = planted_in(roles.get("heart"))
    segments = [int(n) for n in planted.get("segments") or ()]
    figure.notes += notes
    if segments:
        named = ", ".join(f"{n} {SEGMENTS[n - 1]}" for n in segments if 1 <= n <= 17)
        figure.notes.append(f"A defect was planted in: {named} (outlined in the maps).")
    colour = colours(files.methods)
    for method, heart in found.items():
        title = "Reference" if method == REFERENCE else files.title(method)
        look_ = colour.get(method, ""), method != REFERENCE and files.oracle(method)
        if heart.slices is not None:
            figure.strips.append(_strip(method, title, look_, heart, (low, high), look.colour, scan))
            figure.slices = max(figure.slices, heart.slices.shape[2])
        if heart.segments:
            window = (low, high)
            figure.maps.append(
                bullseye(
                    method, title, look_, heart.rings, heart.segments, window, look.colour, level, segments
                )
            )
    for chart in (profile_chart(files, found, level, unit, scan), wall_chart(files, found, scan)):
        if chart is not None:
            figure.charts.append(chart)
    return figure


def _brightest(found: dict[str, Heart]) -> float:
    """What stands for normal where no level is known: the brightest segment, of the reference if there is one."""
    order = [found[name] for name in (REFERENCE, "input", *found) if name in found]
    for heart in order:
        values = np.asarray(heart.segments, float)
        if values.size and np.isfinite(values).any() and np.nanmax(values) > 0:
            return float(np.nanmax(values))
    for heart in order:
        if heart.slices is not None and heart.slices.size and heart.slices.max() > 0:
            return float(np.percentile(heart.slices, 99.5)) or 1.0
    return 1.0


def _strip(
    method: str,
    title: str,
    look: tuple[str, bool],
    heart: Heart,
    window: tuple[float, float],
    scale: str,
    scan: str,
) -> Strip:
    assert heart.slices is not None
    tiles = []
    for k in range(heart.slices.shape[2]):
        tile = pixels.enlarge(
            heart.slices[:, ::-1, k].T, _SLICE_SIDE
        )  # rows run down the page, from anterior
        tiles.append(np.pad(tile, ((0, 0), (0, _GAP)), constant_values=window[0]))
    picture = np.concatenate(tiles, axis=1)[:, :-_GAP]
    src = pixels.data_uri(pixels.image_png(picture, *window, scale, shrunk=False))
    cols, (across, up), (n, m, count) = picture.shape[1], heart.mm, heart.slices.shape
    height = cols / count * (up * m) / (across * n)
    alt = f"{title}, {count} short-axis slices from apex to base of {scan}, anterior up, septum left"
    return Strip(method, title, *look, src, alt, float(cols), float(height))


def profile_chart(
    files: StudyFiles, found: dict[str, Heart], level: float, unit: str, scan: str
) -> Chart | None:
    """Line profiles, methods over each other, the reference in black. None without any."""
    lines = list(dict.fromkeys(line for heart in found.values() for line in heart.profiles))[:3]
    if not lines:
        return None
    shown = [m for m, heart in found.items() if heart.profiles]
    colour = colours(files.methods)
    with canvas(min(12.5, 4.1 * len(lines) + 0.6), 3.3, 1, len(lines)) as (figure, all_axes):
        for axes, line in zip(all_axes, lines, strict=True):
            for method in shown:
                if line not in found[method].profiles:
                    continue
                x, y = found[method].profiles[line]
                reference = method == REFERENCE
                style = ":" if not reference and files.oracle(method) else "-"
                axes.plot(
                    x, y / level, style, color=colour.get(method, _REFERENCE_COLOUR), zorder=3 if reference else 2,
                    linewidth=2.4 if reference else 1.0 if method == "input" else 1.5,
                )  # fmt: skip
            axes.set_title(line.replace("_", " to ") if line.count("_") == 1 else line.replace("_", " "))
            axes.set_xlabel("mm from the middle")
        all_axes[0].set_ylabel(f"× {unit}")
        _legend(figure, files, shown)
        src = encode(figure)
    text = f"Line profiles through the middle of the ventricle of {scan}"
    oracle = any(m != REFERENCE and files.oracle(m) for m in shown)
    return Chart(src, f"Line charts: {text}.", f"{text}{'; dotted: oracle' if oracle else ''}.")


def wall_chart(files: StudyFiles, found: dict[str, Heart], scan: str) -> Chart | None:
    """Wall thickness by AHA segment: a panel a method, the reference's in each. None without any."""
    shown = [m for m, heart in found.items() if heart.wall and m != REFERENCE]
    truth = found[REFERENCE].wall if REFERENCE in found else []
    if not shown:
        return None
    colour = colours(files.methods)
    cols = min(4, len(shown))
    rows = -(-len(shown) // cols)
    at = np.arange(1, 18)
    every = np.array([found[m].wall for m in shown] + ([truth] if truth else []), float)
    top = float(np.nanmax(every)) if np.isfinite(every).any() else 1.0
    low = float(np.nanmin(every)) if np.isfinite(every).any() else 0.0
    with canvas(min(12.5, 3.1 * cols + 0.3), 1.9 * rows + 0.5, rows, cols) as (figure, all_axes):
        for axes in all_axes[len(shown) :]:
            axes.set_visible(False)
        for n, (axes, method) in enumerate(zip(all_axes, shown, strict=False)):
            if truth:
                axes.plot(at, truth, color=_REFERENCE_COLOUR, linewidth=1.8)
            axes.plot(at, found[method].wall, color=colour[method], marker="o", markersize=3, linewidth=1.2)
            axes.set_title(files.label(method), fontsize=9)
            axes.set_ylim(low - 0.08 * (top - low) - 0.1, top + 0.08 * (top - low) + 0.1)
            axes.set_xticks([1, 4, 7, 10, 13, 17])
            for first, _ in _LEVELS[1:]:
                axes.axvline(first - 0.5, color="#c5cad3", linewidth=0.7, zorder=0)
            if n % cols == 0:
                axes.set_ylabel("mm")
            if n + cols >= len(shown):
                axes.set_xlabel("AHA segment")
        src = encode(figure)
    text = f"Wall thickness (full width at half maximum) by AHA segment of {scan}"
    against = "; black: the noise-free reference" if truth else ""
    named = ", ".join(f"{level} from {first}" for first, level in _LEVELS)
    return Chart(src, f"Line charts: {text}.", f"{text}{against}. Segments: {named}.")


def _legend(figure: object, files: StudyFiles, methods: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    colour = colours(files.methods)
    handles = [
        Line2D(
            [],
            [],
            color=colour.get(m, _REFERENCE_COLOUR),
            linewidth=2.4 if m == REFERENCE else 1.5,
            linestyle=":" if m != REFERENCE and files.oracle(m) else "-",
            label="Reference" if m == REFERENCE else files.label(m),
        )
        for m in methods
    ]
    figure.legend(  # type: ignore[attr-defined]
        handles=handles,
        loc="outside upper center",
        ncols=max(1, min(len(handles), int(figure.get_figwidth() / 1.9))),  # type: ignore[attr-defined]
        fontsize=9,
    )
