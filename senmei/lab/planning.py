"""How much activity, ink and time a day of paper phantoms takes: mixing, printing, imaging, all the while decaying.

Times are minutes from the calibration of the eluate. A page's activity is that of the ink on it when it is printed; an
acquisition lasts until its brightest pixel is expected to hold the wanted counts (`PlanarCamera.time_for_maximum`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.lab.inked import InkedPage, acquisition, ink_page
from senmei.lab.layout import SheetLayout
from senmei.lab.profiles import Printer, Substrate
from senmei.physics.planar.camera import PlanarCamera
from senmei.physics.planar.nuclides import nuclide

_ELSEWHERE = "ink plan"


@dataclass(frozen=True)
class Mix:
    """Nuclide solution stirred into ink. mbq : at the calibration. ri_ml, ink_ml : volumes."""

    mbq: float
    ri_ml: float
    ink_ml: float
    nuclide: str = "Tc-99m"

    def __post_init__(self):
        nuclide(self.nuclide)
        for name in ("mbq", "ri_ml", "ink_ml"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
                raise ConfigError(
                    f"impossible value {value!r}",
                    where=f"ink mix: {name}",
                    why="a mix has some activity in some volume",
                    fix="give MBq and ml above 0",
                )

    @property
    def share(self) -> float:
        """Nuclide solution in the mix, as a fraction of its volume."""
        return self.ri_ml / (self.ri_ml + self.ink_ml)

    def mbq_per_ul(self, minutes: float) -> float:
        """Concentration so many minutes after the calibration, MBq/µl."""
        left = nuclide(self.nuclide).decayed(minutes / 60.0)
        return self.mbq * left / (1000.0 * (self.ri_ml + self.ink_ml))


@dataclass(frozen=True)
class PlannedPage:
    """A row of the plan. Times in minutes from the calibration, acquisition_s in seconds.

    ink_ul : on the page. mbq : on it when printed; mbq_at_start, peak_kbq_per_cm2 (where it is darkest) when its
    acquisition starts. counts_maximum : wanted. problem : why the page cannot be imaged, or ''.
    """

    page: str
    printed_min: float
    ink_ul: float
    mbq: float
    start_min: float
    mbq_at_start: float
    peak_kbq_per_cm2: float
    acquisition_s: float
    counts_maximum: float
    problem: str = ""


@dataclass(frozen=True)
class Plan:
    """The day: its pages, and the totals. finished_min : end of the last acquisition. warnings : sentences."""

    pages: tuple[PlannedPage, ...]
    ink_ml: float
    mbq_used: float
    finished_min: float
    warnings: tuple[str, ...]


def plan_pages(
    teachers: Mapping[str, Volume],
    layout: SheetLayout,
    mix: Mix,
    printer: Printer,
    substrate: Substrate,
    camera: PlanarCamera,
    *,
    counts_maximum: float = 25.0,
    print_start_min: float = 30.0,
    change_min: float = 3.0,
    longest_min: float = 60.0,
) -> Plan:
    """The plan of printing all pages one after the other and imaging each as soon as camera and page are ready.

    teachers : page -> grey (size, size, 1). camera : its `time_s` is replaced by what each page needs. change_min : of
    laying the next sheet down. longest_min : of an acquisition; pages that need more have a `problem`. Raises
    ConfigError where camera and mix differ in their nuclide, or times or counts are impossible; DataError for no pages.
    """
    day = {"counts_maximum": counts_maximum, "print_start_min": print_start_min}
    day |= {"change_min": change_min, "longest_min": longest_min}
    _check(teachers, mix, camera, day)
    inked = {name: ink_page(layout, teacher, camera) for name, teacher in teachers.items()}
    return _day(inked, mix, printer, substrate, camera, **day)


def _check(teachers: Mapping[str, Volume], mix: Mix, camera: PlanarCamera, day: Mapping[str, float]) -> None:
    if not teachers:
        raise DataError(
            "There is nothing to plan", where=_ELSEWHERE, why="no page was given", fix="give teachers"
        )
    if camera.nuclide != mix.nuclide:
        why = f"the camera is set for {camera.nuclide}, the ink holds {mix.nuclide}"
        raise ConfigError("two nuclides in one plan", where=_ELSEWHERE, why=why, fix="make them agree")
    for name, value in day.items():
        least = -1e-9 if name in ("print_start_min", "change_min") else 0.0
        if not (math.isfinite(value) and value > least):
            why = "times and counts are positive numbers"
            raise ConfigError(
                f"impossible value {value!r}", where=f"{_ELSEWHERE}: {name}", why=why, fix="correct it"
            )


def _day(
    inked: Mapping[str, InkedPage],
    mix: Mix,
    printer: Printer,
    substrate: Substrate,
    camera: PlanarCamera,
    counts_maximum: float,
    print_start_min: float,
    change_min: float,
    longest_min: float,
) -> Plan:
    rows: list[PlannedPage] = []
    ready, free = print_start_min, 0.0
    for name, page in inked.items():
        ink_ul = page.cm2 * printer.full_ink_ul_per_cm2
        ready += printer.page_s / 60.0
        concentration = mix.mbq_per_ul(ready)
        start = max(ready + substrate.dry_s / 60.0, free)
        left = nuclide(mix.nuclide).decayed((start - ready) / 60.0)
        full = printer.full_ink_ul_per_cm2 * concentration * left  # MBq/cm² of black at the start
        seconds, problem = acquisition(camera, page, full, counts_maximum, 60.0 * longest_min)
        free = start + min(seconds, 60.0 * longest_min) / 60.0 + change_min
        peak = 1000.0 * full * page.darkest
        mbq = ink_ul * concentration
        rows.append(
            PlannedPage(name, ready, ink_ul, mbq, start, mbq * left, peak, seconds, counts_maximum, problem)
        )
    used = sum(r.ink_ul for r in rows) / 1000.0
    return Plan(
        tuple(rows), used, sum(r.mbq for r in rows), free - change_min, _warnings(mix, printer, used, rows)
    )


def activity_needed(
    teachers: Mapping[str, Volume],
    layout: SheetLayout,
    mix: Mix,
    printer: Printer,
    substrate: Substrate,
    camera: PlanarCamera,
    *,
    within_min: float = 10.0,
    **settings: float,
) -> Mix:
    """The same volumes with the least activity of which every page is imaged within `within_min`, to 0.5 %.

    settings : as of `plan_pages`. Raises DataError where no activity up to 1 TBq is enough.
    """
    day = {
        "counts_maximum": 25.0,
        "print_start_min": 30.0,
        "change_min": 3.0,
        "longest_min": within_min,
    } | settings
    _check(teachers, mix, camera, day)
    inked = {name: ink_page(layout, teacher, camera) for name, teacher in teachers.items()}

    def enough(mbq: float) -> bool:
        plan = _day(inked, replace(mix, mbq=mbq), printer, substrate, camera, **day)
        return all(not r.problem for r in plan.pages)

    low, high = 1.0, 1.0
    while not enough(high):
        low, high = high, 4.0 * high
        if high > 1e6 - 1:
            raise DataError(
                "No activity is enough for this plan",
                where=_ELSEWHERE,
                why=f"even {low:.3g} MBq leave a page that takes more than {within_min:g} minutes",
                fix="accept longer acquisitions or fewer counts, or image fewer pages a day",
            )
    while high / low > 1.005 and high > 1.0:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return replace(mix, mbq=high)


def _warnings(mix: Mix, printer: Printer, used_ml: float, rows: Sequence[PlannedPage]) -> tuple[str, ...]:
    told = [f"The {printer.title}'s numbers are {printer.status}: weigh a page, and image the wedge."]
    volume = mix.ri_ml + mix.ink_ml
    if mix.share > printer.most_ri:
        told.append(
            f"{100 * mix.share:.0f} % of the mix is nuclide solution; above {100 * printer.most_ri:.0f} % it pales."
        )
    if used_ml + printer.dead_ml > volume:
        told.append(
            f"The pages take {used_ml:.2f} ml, and {printer.dead_ml:g} ml never print; the mix has {volume:g} ml."
        )
    if volume < printer.tank_ml:
        told.append(f"The printer prints from {printer.tank_ml:g} ml up; the mix has {volume:g} ml.")
    bad = [r.page for r in rows if r.problem]
    if bad:
        told.append(f"{len(bad)} of {len(rows)} pages cannot be imaged as planned: {', '.join(bad[:5])}.")
    return tuple(told)
