"""Pages of a printed cohort of `gamma_sr`: whose teacher is on which, how they are laid out, printed and mixed.

What is worked out here follows from the configuration (and the folder of pictures), before anything was printed; so
the laboratory's PDF and the door that reads the scans agree on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from senmei.core.cohorts import assign_splits
from senmei.core.errors import ConfigError, SenmeiError
from senmei.core.volume import Volume
from senmei.studies.gamma_sheets import images_of, subjects_of

if TYPE_CHECKING:
    from senmei.io.teachers import TeacherSettings
    from senmei.lab.layout import SheetLayout
    from senmei.lab.planning import Mix
    from senmei.lab.profiles import Printer, Substrate
    from senmei.physics.planar.camera import PlanarCamera

WEDGE = "wedge"  # the id of the calibration page


@dataclass(frozen=True)
class SheetPage:
    """One page. name : the id printed on it. subject : 'sub-...' of the teacher's source. family : as `teachers`, or
    the kind of a picture (photograph, medical). teacher : name of an embedded one, '' of a picture. split : that the
    source is in, where it follows from the configuration. load() : grey (size, size, 1) float32, 0..1.
    """

    name: str
    subject: str
    family: str
    teacher: str
    split: str | None
    load: Callable[[], Volume]


def pages_of(cohort: Mapping[str, Any]) -> tuple[list[SheetPage], dict[str, str]]:
    """All pages of a cohort in the order of printing, and pictures that were left out: file -> reason.

    Embedded teachers are not loaded; `pictures` are read, whole. Sources of embedded teachers take turns over the
    splits, since all of them are known; those of pictures go by a hash of their names, so that a further picture moves
    nobody. Raises ConfigError as `subjects_of`; DataError as `senmei.io.teachers.read_teachers`.
    """
    if cohort["pictures"] is not None:
        return _pictures(cohort)
    from senmei.phantoms.teachers import load_teacher

    size, pixel = int(cohort["layout"]["size"]), float(cohort["layout"]["pixel_mm"])
    sources = subjects_of(cohort)
    split: dict[str, str] = {}
    if cohort["use"] == "train":
        split = assign_splits([s["subject"] for s in sources], cohort["split"], ordered=True)
    pages = []
    for source in sources:
        subject, family = source["subject"], source["family"]
        for image in images_of(subject, family, int(cohort["slices"])):
            name = image["teacher"]
            load = partial(load_teacher, name, size, pixel)
            pages.append(SheetPage(name, subject, family, name, split.get(subject), load))
    return pages, {}


def _pictures(cohort: Mapping[str, Any]) -> tuple[list[SheetPage], dict[str, str]]:
    from senmei.io.teachers import read_teachers

    folder = Path(cohort["pictures"])
    found, left_out = read_teachers(folder, picture_settings(cohort), float(cohort["layout"]["pixel_mm"]))
    pages: list[SheetPage] = []
    number: dict[str, int] = {}
    for teacher in found:
        subject = f"sub-{teacher.subject}"
        number[subject] = number.get(subject, 0) + 1
        if number[subject] <= int(cohort["slices"]):
            load = partial(_same, teacher.image)
            pages.append(SheetPage(teacher.name, subject, teacher.kind, "", None, load))
    most = cohort.get("subjects")
    kept = [*dict.fromkeys(page.subject for page in pages)][:most]
    return [page for page in pages if page.subject in kept], left_out


def _same(image: Volume) -> Volume:
    return image


def picture_settings(cohort: Mapping[str, Any]) -> TeacherSettings:
    """How the files of `pictures` become teachers of the layout's size. Raises ConfigError for impossible windows."""
    from senmei.io.teachers import TeacherSettings

    return TeacherSettings.from_dict({**cohort["picture"], "size": int(cohort["layout"]["size"])})


def layout_of(cohort: Mapping[str, Any]) -> SheetLayout:
    """Where everything lies on a page. Raises ConfigError for what does not fit on the paper."""
    from senmei.lab.layout import SheetLayout

    return SheetLayout(**cohort["layout"])


def printer_of(cohort: Mapping[str, Any]) -> Printer:
    """The printer: its profile with what the configuration gives in its place. Raises ConfigError."""
    from senmei.lab.profiles import printer

    given = {k: v for k, v in cohort["printer"].items() if k != "profile"}
    profile = printer(cohort["printer"]["profile"])
    if not given:
        return profile
    return replace(profile, **given, status=f"{profile.status}, but for {', '.join(sorted(given))}")


def substrate_of(cohort: Mapping[str, Any]) -> Substrate:
    """What is printed on. Raises ConfigError."""
    from senmei.lab.profiles import substrate

    return substrate(cohort["substrate"])


def mix_of(cohort: Mapping[str, Any]) -> Mix:
    """The ink; of 1 MBq where the activity is to be worked out. Raises ConfigError."""
    from senmei.lab.planning import Mix

    given = cohort["mix"]
    mbq = 1.0 if given["mbq"] is None else float(given["mbq"])
    return Mix(mbq, float(given["ri_ml"]), float(given["ink_ml"]), str(cohort["nuclide"]))


def planning_camera(cohort: Mapping[str, Any]) -> PlanarCamera:
    """The camera that the plan is made for; acquisition times come from it. Raises ConfigError."""
    from senmei.physics.planar.camera import PlanarCamera

    own = cohort["camera"]
    return PlanarCamera(
        collimator=str(cohort["collimator"]),
        nuclide=str(cohort["nuclide"]),
        distance_mm=float(cohort["distance_mm"]),
        layer_mm=float(cohort["layer_mm"]),
        matrix=int(own["matrix"]),
        zoom=float(own["zoom"]),
        field_mm=float(own["field_mm"]),
    )


def check_pages(cohort: Mapping[str, Any]) -> None:
    """Raise ConfigError for sheets that cannot be printed or planned; looks at no file."""
    layout = layout_of(cohort)
    try:
        for look in (printer_of, substrate_of, mix_of, planning_camera):
            look(cohort)
        if cohort["pictures"] is not None:
            picture_settings(cohort)
        else:
            subjects_of(cohort)
    except SenmeiError as error:
        raise ConfigError(error.what, where=str(error.where), why=error.why, fix=error.fix) from error
    field = float(cohort["camera"]["field_mm"]) / float(cohort["camera"]["zoom"])
    if layout.side_mm + 2 * layout.gap_mm + layout.spot_mm > field:
        raise ConfigError(
            "The sheet is larger than the camera's field",
            where="cohorts: camera.zoom",
            why=f"image and marks take {layout.side_mm + 2 * layout.gap_mm + layout.spot_mm:.0f} mm of {field:.0f} mm",
            fix="print smaller pixels, or image at a lower zoom",
        )
