"""Paper sheets: true scale, marks without symmetry, reproducible bytes, profiles, and the plan of activity and time."""

from __future__ import annotations

import math
import re
import zlib

import numpy as np
import pytest

from senmei.core.errors import ConfigError, DataError
from senmei.core.volume import Volume
from senmei.lab.layout import PAPERS, SheetLayout, printed, wedge
from senmei.lab.planning import Mix, activity_needed, plan_pages
from senmei.lab.profiles import PRINTERS, SUBSTRATES, Printer, printer, substrate
from senmei.lab.sheets import Page, write_sheets
from senmei.physics.planar.camera import PlanarCamera
from senmei.physics.planar.sheet import sheet_affine

LAYOUT = SheetLayout(size=64, pixel_mm=2.4)
INKJET, PAPER = printer("inkjet"), substrate("paper")


def teacher(fill=0.5, size=64) -> Volume:
    data = np.full((size, size, 1), fill, np.float32)
    return Volume(data, sheet_affine((size, size), 2.4))


# ---- layout


@pytest.mark.parametrize("layout", [LAYOUT, SheetLayout(), SheetLayout(0.9, 256, "A3")])
def test_marks_have_no_symmetry_and_lie_on_the_paper(layout):
    spots = layout.spots
    half = layout.side_mm / 2
    width, height = PAPERS[layout.paper]
    reach = layout.spot_mm / 2 + layout.margin_mm
    assert (np.abs(spots[:, 0]) + reach <= width / 2).all() and (
        np.abs(spots[:, 1]) + reach <= height / 2
    ).all()
    assert np.abs(spots).max(1) - half == pytest.approx(layout.gap_mm)
    for c, s in ((0, 1), (-1, 0), (0, -1), (1, 0)):
        turn = np.array([[c, -s], [s, c]])
        for mirror in (1, -1):
            if mirror == c == 1:
                continue
            other = (spots * [mirror, 1]) @ turn.T
            near = np.hypot(*(spots[:, None] - other[None]).transpose(2, 0, 1)).min(1)
            assert np.sum(near > 10.0) >= 2, "at least two marks tell it"


def test_what_does_not_fit_is_told_with_what_would():
    with pytest.raises(ConfigError, match="does not fit on A4") as caught:
        SheetLayout(pixel_mm=0.9)
    most = float(re.search(r"at most ([\d.]+) mm", str(caught.value))[1])
    assert SheetLayout(pixel_mm=math.floor(most * 100) / 100).side_mm < 210
    for wrong in ({"paper": "A5"}, {"spot_mm": 0}, {"gap_mm": 6.0}, {"size": 4}, {"pixel_mm": True}):
        with pytest.raises(ConfigError):
            SheetLayout(**wrong)


def test_printed_ink_is_teacher_and_marks():
    ink = printed(LAYOUT, teacher(0.5), pixel_mm=0.6)
    area = float(ink.data.sum()) * 0.6**2
    assert area == pytest.approx(0.5 * LAYOUT.side_mm**2 + 6 * math.pi * 25.0, rel=0.005)
    assert ink.data.max() == 1.0 and np.isclose(ink.data, 0.5).sum() > 60_000
    shifted = printed(LAYOUT, teacher(0.5), pixel_mm=0.6, grid=ink.shape[:2], shift_mm=(6.0, -3.0))
    assert shifted.data[10:, :-5] == pytest.approx(ink.data[:-10, 5:], abs=1e-4)
    turned = printed(LAYOUT, teacher(0.5), pixel_mm=0.6, grid=(500, 500), angle_deg=90.0)
    straight = printed(LAYOUT, teacher(0.5), pixel_mm=0.6, grid=(500, 500))
    assert np.abs(turned.data[..., 0] - np.rot90(straight.data[..., 0], 1, (0, 1))).mean() < 0.01
    with pytest.raises(DataError, match="does not fit"):
        printed(LAYOUT, teacher(size=32))


def test_the_wedge_has_sixteen_steps_with_small_ones_between_neighbours():
    greys = wedge(LAYOUT).data[8::16, 8::16, 0]
    assert sorted(greys.ravel()) == pytest.approx(np.linspace(0, 1, 16))
    assert np.abs(np.diff(greys, axis=0)).max() == pytest.approx(1 / 15)


# ---- PDF


def contents(pdf: bytes) -> str:
    """The drawing operators of all pages."""
    out = []
    for stream in re.findall(rb"stream\n(.*?)\nendstream", pdf, re.S):
        try:
            out.append(zlib.decompress(stream).decode("latin-1"))
        except zlib.error:
            continue
    return "\n".join(out)


def test_a_page_is_of_true_scale(tmp_path):
    pdf = write_sheets(tmp_path / "a.pdf", [Page("p1", teacher())], LAYOUT, INKJET, PAPER).read_bytes()
    boxes = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", pdf)
    assert len(boxes) == 2  # the wedge and the teacher
    for width, height in boxes:
        assert float(width) == pytest.approx(210 / 25.4 * 72, abs=0.01)
        assert float(height) == pytest.approx(297 / 25.4 * 72, abs=0.01)
    number = r"(-?[\d.]+)"
    pattern = rf"1 0 0 1 {number} {number} cm {number} 0 0 -{number} 0 {number} cm /I\d"
    placed = re.findall(pattern, contents(pdf).replace("\n", " "))
    assert len(placed) == 2
    side, points = LAYOUT.side_mm / 25.4 * 72, 72 / 25.4
    for left, low, wide, high, up in (map(float, place) for place in placed):
        assert wide == high == up == pytest.approx(side, abs=0.001)
        assert left == pytest.approx((210 - LAYOUT.side_mm) / 2 * points, abs=0.001)
        assert low == pytest.approx((297 - LAYOUT.side_mm) / 2 * points, abs=0.001)
    assert b"/Width 64" in pdf and b"/Height 64" in pdf  # the teacher's own pixels, not resampled ones


@pytest.mark.parametrize("layout", [SheetLayout(), SheetLayout(0.9, 256, "A3")], ids=["A4", "A3"])
def test_text_is_ink_too_and_lies_far_below_the_marks(layout, tmp_path):
    """Near the marks its counts would be in the image, and belong to no grey: pairing would be off by 3 %."""
    image = Volume(np.full((256, 256, 1), 0.5, np.float32), sheet_affine((256, 256), layout.pixel_mm))
    pdf = write_sheets(tmp_path / "a.pdf", [Page("p1", image)], layout, INKJET, PAPER).read_bytes()
    text = contents(pdf)
    points = [float(y) for y in re.findall(r"1 0 -0 1 [\d.]+ ([\d.]+) cm\s+BT", text)]
    assert len(points) == 2 * 4  # bar, id and two lines, of two pages
    height = PAPERS[layout.paper][1]
    heights = [y * 25.4 / 72 - height / 2 for y in points]
    assert min(heights) > -height / 2 + layout.margin_mm
    lowest = layout.spots[:, 1].min() - layout.spot_mm / 2
    assert max(heights) < lowest - 20.0


def test_the_same_sheets_are_the_same_bytes(tmp_path):
    pages = [Page("p1", teacher(0.2)), Page("p2", teacher(0.8), "with a note")]
    one, two = (
        write_sheets(tmp_path / f"{n}.pdf", pages, LAYOUT, INKJET, PAPER).read_bytes() for n in range(2)
    )
    assert one == two and b"CreationDate" not in one
    three = write_sheets(tmp_path / "3.pdf", pages[:1], LAYOUT, INKJET, PAPER, with_wedge=False).read_bytes()
    assert one.count(b"/MediaBox") == 3 and three.count(b"/MediaBox") == 1


def test_pages_that_cannot_be_printed(tmp_path):
    wrong = {
        "no page": [],
        "this id": [Page("a", teacher()), Page("a", teacher())],
        "resample": [Page("a", teacher(size=32))],
        "within 0 and 1": [Page("a", teacher(1.5))],
    }
    for told, pages in wrong.items():
        with pytest.raises(DataError, match="cannot be printed") as caught:
            write_sheets(tmp_path / "a.pdf", pages, LAYOUT, INKJET, PAPER, with_wedge=False)
        assert told in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_id_is_text_and_no_formula(tmp_path):
    name = r"$\frac{1}{$ ../x <b>"
    write_sheets(tmp_path / "a.pdf", [Page(name, teacher())], LAYOUT, INKJET, PAPER)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pdf"]


# ---- profiles


def test_profiles_say_that_they_are_assumed():
    assert {"inkjet", "food"} <= set(PRINTERS) and {"paper", "wafer"} <= set(SUBSTRATES)
    assert all("assumed" in p.status for p in (*PRINTERS.values(), *SUBSTRATES.values()))
    assert substrate("wafer").edible and not PAPER.edible
    with pytest.raises(ConfigError, match="unknown printer"):
        printer("inkjett")
    with pytest.raises(ConfigError, match="impossible value"):
        Printer("mine", "mine", gamma=0)


def test_the_tone_curve_is_inverted():
    mine = Printer("mine", "mine", gamma=1.7)
    ink = np.linspace(0, 1, 11)
    assert mine.drive(ink) ** 1.7 == pytest.approx(ink)


# ---- plan


CAMERA = PlanarCamera(matrix=256)
MIX = Mix(mbq=2000.0, ri_ml=1.0, ink_ml=3.0)


def plan(mix=MIX, camera=CAMERA, pages=3, **settings):
    return plan_pages(
        {f"p{n}": teacher(0.5) for n in range(pages)}, LAYOUT, mix, INKJET, PAPER, camera, **settings
    )


def test_activity_is_volume_times_concentration_and_decays():
    day = plan()
    first, last = day.pages[0], day.pages[-1]
    area = 0.5 * (LAYOUT.side_mm / 10) ** 2 + 6 * math.pi * 0.25
    assert first.ink_ul == pytest.approx(area * 1.0, rel=0.02)
    left = 0.5 ** (first.printed_min / 60 / 6.007)
    assert first.mbq == pytest.approx(first.ink_ul * 2000 / 4000 * left, rel=1e-9)
    assert last.mbq_at_start == pytest.approx(
        last.mbq * 0.5 ** ((last.start_min - last.printed_min) / 60 / 6.007), rel=1e-9
    )
    assert day.ink_ml == pytest.approx(3 * first.ink_ul / 1000) and not any(r.problem for r in day.pages)


def test_acquisitions_follow_one_another_and_give_the_counts():
    day = plan(Mix(40.0, 1.0, 3.0), counts_maximum=25.0)
    for before, after in zip(day.pages, day.pages[1:], strict=False):
        assert after.printed_min == pytest.approx(before.printed_min + 1.0)
        assert after.start_min >= before.start_min + before.acquisition_s / 60 + 3.0 - 1e-9
        assert after.acquisition_s > before.acquisition_s  # it has decayed meanwhile
    page = day.pages[1]
    ink = printed(LAYOUT, teacher(0.5))
    activity = ink.like(ink.data * np.float32(page.mbq_at_start / float(ink.data.sum(dtype=np.float64))))
    settings = CAMERA.to_dict() | {"time_s": page.acquisition_s}
    assert PlanarCamera.from_dict(settings).expected(activity).data.max() == pytest.approx(25.0, rel=1e-3)


def test_what_takes_too_long_is_told():
    day = plan(Mix(0.02, 1.0, 3.0), longest_min=30.0)
    assert all("minutes" in r.problem or "decays" in r.problem for r in day.pages)
    assert any("cannot be imaged" in w for w in day.warnings)
    assert math.isfinite(day.finished_min)


def test_warnings_of_the_mix():
    assert any("nuclide solution" in w for w in plan(Mix(2000.0, 4.0, 1.0)).warnings)
    assert any("never print" in w for w in plan(Mix(2000.0, 0.2, 0.6)).warnings)
    assert "assumed" in plan().warnings[0]


def test_the_activity_that_is_needed():
    pages = {f"p{n}": teacher(0.5) for n in range(3)}
    need = activity_needed(pages, LAYOUT, MIX, INKJET, PAPER, CAMERA, within_min=10.0)
    longest = max(r.acquisition_s for r in plan(need, longest_min=60.0).pages)
    assert 0.97 * 600 < longest <= 600.0
    with pytest.raises(DataError, match="No activity"):
        activity_needed(
            pages, LAYOUT, MIX, INKJET, PAPER, CAMERA, within_min=10.0, print_start_min=60 * 24 * 30.0
        )


def test_impossible_plans():
    with pytest.raises(ConfigError, match="two nuclides"):
        plan(Mix(100.0, 1.0, 1.0, "I-123"))
    with pytest.raises(ConfigError, match="impossible value"):
        plan(counts_maximum=0.0)
    with pytest.raises(ConfigError, match="impossible value"):
        Mix(-1.0, 1.0, 1.0)
    with pytest.raises(DataError, match="nothing to plan"):
        plan(pages=0)
