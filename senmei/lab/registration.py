"""How a printed sheet lies in a camera image, by its marks; and the errors of sheets that lie wrongly.

    image = s R(angle) sheet + shift

The scale s is not used as such: it must be 1, or the header's pixel size is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.lab.fiducials import Spot, find_spots, spot_sigma
from senmei.lab.layout import SheetLayout, teacher_at
from senmei.lab.matching import Registration, match, similarity
from senmei.physics.planar.sheet import sheet_affine

_ERROR = "No sheet can be registered in this image"


def register_sheet(
    image: Volume,
    layout: SheetLayout,
    fwhm_mm: float,
    *,
    limit_mm: float = 1.0,
    scale_tolerance: float = 0.02,
    turn_limit_deg: float = 30.0,
    where: object = "camera image",
) -> Registration:
    """The sheet's place in an image (x, y, 1) of counts, whose pixel size is the header's.

    fwhm_mm : of the camera at the sheet (`PlanarCamera.psf_fwhm_mm`). limit_mm : largest residual (root mean square)
    that is accepted. scale_tolerance : largest deviation of the printed spacing from the header's. turn_limit_deg :
    largest turn accepted; 180 takes any. where : what to call the image in errors.

    Raises DataError for an image without marks, with two sheets, with a sheet that is cropped, turned (180° or more
    than the limit), face down, of another pixel size than stated, or whose marks do not fit; and as `find_spots`.
    """
    spots = find_spots(image, layout.spot_mm, fwhm_mm, where)
    width = spot_sigma(layout.spot_mm, fwhm_mm)
    ways = []
    for model in (layout.spots, layout.spots * np.array([-1.0, 1.0])):
        pairs = match(model, spots, layout.spot_mm)
        ways.append((pairs, similarity(model, spots, pairs) if len(pairs) > 2 else None))
    (found, result), (_, behind) = ways
    seen = [r is not None and _believed(r, p, spots, layout, width) for p, r in ways]
    if seen[1] and behind is not None and (not seen[0] or result is None or behind.marks > result.marks):
        fix = "turn it face up, or mirror the image"
        raise _bad(where, "the sheet is seen from behind: its marks are mirrored", fix)
    if not seen[0] or result is None:
        why = f"no set of spots in it lies as the {len(layout.spots)} marks of the sheet do"
        fix = "check that the sheet has marks and lies in the field; if it has few counts, acquire for longer"
        raise _bad(where, why, fix)
    _check_scale(result, image, scale_tolerance, where)
    _check_single(layout, spots, found, where)
    _check_inside(result, layout, image, len(found), where, width)
    turn = abs(result.angle_deg)
    if turn > turn_limit_deg:
        told = "by 180°" if turn > 170 else f"by {result.angle_deg:.0f}°"
        fix = "turn the sheet or the image, or allow it with turn_limit_deg=180"
        raise _bad(where, f"the sheet is turned {told}", fix)
    if result.residual_mm > limit_mm:
        why = f"its marks lie {result.residual_mm:.2f} mm off (root mean square; worst {result.worst_mm:.2f} mm), more "
        fix = "flatten the sheet, check the printer's scale on the bar, or raise limit_mm if this is good enough"
        raise _bad(where, why + f"than the limit of {limit_mm:g} mm", fix)
    return result


@dataclass(frozen=True)
class Repeatability:
    """How well a sheet is put back: standard deviations over repeated scans. Needs two or more.

    shift_mm : (x, y). angle_deg. centre_mm : root mean square distance of the sheet's centre from its mean, edge_mm of
    a point at the image's corner, where turning adds. residual_mm : mean of the registrations' own.
    """

    scans: int
    shift_mm: tuple[float, float]
    angle_deg: float
    centre_mm: float
    edge_mm: float
    residual_mm: float


def repeatability(registrations: Sequence[Registration], layout: SheetLayout) -> Repeatability:
    """Numbers of the same sheet laid down again and again. Raises ConfigError for fewer than two scans."""
    if len(registrations) < 2:
        why = f"{len(registrations)} scan was given"
        raise ConfigError("no repeatability of one scan", where="repeatability", why=why, fix="scan it again")
    shifts = np.array([r.shift_mm for r in registrations])
    corner = np.full((1, 2), layout.side_mm / 2)
    edges = np.concatenate([r.to_image(corner) for r in registrations])

    def spread(points: NDArray) -> float:
        return float(np.sqrt(((points - points.mean(0)) ** 2).sum() / (len(points) - 1)))

    x, y = shifts.std(0, ddof=1)
    return Repeatability(
        scans=len(registrations),
        shift_mm=(float(x), float(y)),
        angle_deg=float(np.std([r.angle_deg for r in registrations], ddof=1)),
        centre_mm=spread(shifts),
        edge_mm=spread(edges),
        residual_mm=float(np.mean([r.residual_mm for r in registrations])),
    )


@dataclass(frozen=True)
class Placed:
    """A sheet on the grid of an image, (x, y, 1). teacher : float32 grey, its marks (full ink) included.

    mask : uint8, the pixels that lie wholly in the printed teacher. printed : uint8, all that hold ink, marks included;
    pairing takes this one, since the marks' counts must belong to something.
    """

    teacher: Volume
    mask: Volume
    printed: Volume


def teacher_in_image(
    teacher: Volume, layout: SheetLayout, registration: Registration, image: Volume, factor: int = 1
) -> Placed:
    """The sheet on the image's grid, each of whose pixels is cut into factor x factor.

    The counts stay where they were measured; the teacher is brought to them: mean of 3 x 3 samples a pixel, linear
    between the teacher's; edges of picture and marks by the share of a sample that they cover.
    """
    fine = (image.shape[0] * factor, image.shape[1] * factor)
    step, sub = image.voxel[0] / factor, 3
    axes = [(np.arange(n * sub) - (n * sub - 1) / 2) * step / sub for n in fine]
    points = registration.to_sheet(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    half, edge = layout.side_mm / 2, step / sub
    inside = np.abs(points).max(-1) <= half
    near = np.clip(points, -half, half)
    cover = np.clip((half - np.abs(points)) / edge + 0.5, 0.0, 1.0).prod(-1)
    grey = teacher_at(layout, teacher, near[..., 0], near[..., 1]) * cover
    ink = cover > 0
    for mark in layout.spots:
        away = np.hypot(points[..., 0] - mark[0], points[..., 1] - mark[1])
        spot = np.clip((layout.spot_mm / 2 - away) / edge + 0.5, 0.0, 1.0)
        np.maximum(grey, spot, out=grey)
        ink |= spot > 0
    blocks, affine = (fine[0], sub, fine[1], sub), sheet_affine(fine, step)

    def volume(values: NDArray, kind: type) -> Volume:
        return Volume(values[..., None].astype(kind), affine)

    return Placed(
        volume(grey.reshape(blocks).mean((1, 3)), np.float32),
        volume(inside.reshape(blocks).min((1, 3)), np.uint8),
        volume(ink.reshape(blocks).max((1, 3)), np.uint8),
    )


def _believed(
    result: Registration, pairs: dict[int, int], spots: list[Spot], layout: SheetLayout, width: float
) -> bool:
    """Whether matched spots are a sheet's marks and no chance: pictures hold spots too.

    All marks at the header's scale are, even if the sheet is warped; of fewer, or at another scale, more is asked of
    how well they fit. Their width must be that of a blurred mark at that scale.
    """
    missing = len(layout.spots) - result.marks
    wide = float(np.median([spots[s].width_mm for s in pairs.values()])) / width
    tight = result.residual_mm < 0.1 * layout.spot_mm * max(result.scale, 1.0) + min(result.expected_mm, 0.5)
    if abs(result.scale - 1.0) < 0.05:
        return 0.6 < wide < 1.7 and (missing == 0 or (missing <= 2 and tight))
    return 0.6 < wide / result.scale < 1.7 and missing <= 1 and tight


def _check_scale(result: Registration, image: Volume, tolerance: float, where: object) -> None:
    if abs(result.scale - 1.0) > tolerance:
        pixel = image.voxel[0]
        why = f"marks printed 100 mm apart lie {100 * result.scale:.1f} mm apart if pixels are of {pixel:.4g} mm"
        fix = f"check zoom and pixel size: {pixel / result.scale:.4g} mm would fit; and that it was printed at 100 %"
        raise _bad(where, why, fix)


def _check_single(layout: SheetLayout, spots: list[Spot], found: dict[int, int], where: object) -> None:
    left = [s for i, s in enumerate(spots) if i not in found.values()]
    again = match(layout.spots, left, layout.spot_mm)
    if len(again) >= len(layout.spots) - 1:
        second = similarity(layout.spots, left, again)
        if second.residual_mm < 0.15 * layout.spot_mm and abs(second.scale - 1.0) < 0.1:
            x, y = second.shift_mm
            why = f"there is a second sheet, {x:.0f} mm right of and {y:.0f} mm above the centre"
            raise _bad(where, why, "acquire one sheet at a time, or cut the image")


def _check_inside(
    result: Registration, layout: SheetLayout, image: Volume, marks: int, where: object, width: float
) -> None:
    edge = np.array(image.shape[:2]) * image.voxel[0] / 2
    half = layout.side_mm / 2
    corners = result.to_image(np.array([[x, y] for x in (-half, half) for y in (-half, half)]))
    lost = int((np.abs(result.to_image(layout.spots)) > edge - width).any(1).sum())
    beyond = float((np.abs(corners) - edge).max())
    if beyond > 0 or marks < len(layout.spots):
        if beyond > 0 or lost:
            what = (
                f"its image reaches {beyond:.0f} mm beyond the field"
                if beyond > 0
                else f"{lost} of its marks are cut off"
            )
            raise _bad(
                where, f"the sheet is cropped: {what}", "centre the sheet in the field, or use a lower zoom"
            )
        why = f"only {marks} of {len(layout.spots)} marks were found, and the others should lie within the field"
        raise _bad(where, why, "check that nothing covers them; acquire for longer if there are few counts")


def _bad(where: object, why: str, fix: str) -> DataError:
    return DataError(_ERROR, where=where, why=why, fix=fix)
