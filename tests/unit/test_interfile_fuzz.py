"""Interfile: what is written reads back equal; whatever stands in a file, the answer is a study or an error of ours."""

from __future__ import annotations

import contextlib
import resource
import signal
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from senmei.core.errors import DataError
from senmei.core.volume import Volume
from senmei.io.interfile import CONVENTIONS, parse_header, read_interfile, write_interfile
from senmei.io.projections import EnergyWindow, PlanarImage, Projections

CPU_SECONDS = 10
MEMORY = 1 << 30


class Hung(BaseException):
    """An example that does not end; no `except Exception` takes it for a damaged file."""


def _hung(number: int, frame: object) -> None:
    raise Hung


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Bounds of time and memory; lets a whole answer of ours pass."""
    before = {number: signal.signal(number, _hung) for number in (signal.SIGPROF, signal.SIGALRM)}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (here + MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 12 * CPU_SECONDS)
    try:
        yield
    except DataError as error:
        _complete(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for number, handler in before.items():
            signal.signal(number, handler)


def _complete(error: DataError) -> None:
    assert error.what and error.where and error.why and error.fix
    assert "uixotic" not in str(error)


def fuzz(count: int) -> settings:
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


# --- round trips ---

FORMATS = [
    ("unsigned integer", 1, 255), ("unsigned integer", 2, 65535), ("unsigned integer", 4, 2**31 - 1),
    ("signed integer", 1, 127), ("signed integer", 2, 32767), ("signed integer", 4, 2**31 - 1),
    ("short float", 4, 2**24), ("long float", 8, 2**31 - 1),
]  # fmt: skip
lengths = st.floats(0.5, 50)
sizes = st.integers(1, 6)


@st.composite
def acquisitions(draw: st.DrawFn) -> tuple[Projections, dict[str, Any]]:
    name, size, most = draw(st.sampled_from(FORMATS))
    windows, gates, views = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 7))
    dtype = np.float32 if "float" in name else np.int32
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (windows, gates, draw(sizes), draw(sizes), views)
    if dtype is np.float32 and size == 4 and draw(st.booleans()):
        counts = rng.gamma(2.0, 7.0, shape).astype(np.float32)
    else:
        counts = rng.poisson(draw(st.sampled_from([0.5, 20, 4000])), shape).clip(0, most).astype(dtype)
    step, start = draw(st.floats(0.5, 360 / views)), draw(st.floats(0, 359.9))
    radii = draw(st.lists(st.floats(50, 500), min_size=views, max_size=views))
    projections = Projections(
        counts=counts,
        windows=tuple(
            EnergyWindow(f"window {k}", low, low + draw(st.floats(0.1, 80)))
            for k, low in enumerate(draw(st.lists(st.floats(20, 500), min_size=windows, max_size=windows)), 1)
        ),
        pixel_mm=draw(lengths),
        angles_deg=tuple((start + step * k) % 360 for k in range(views)),
        direction=draw(st.sampled_from(["ccw", "cw"])),
        radius_mm=tuple(radii if draw(st.booleans()) else radii[:1] * views),
        nuclide=draw(st.sampled_from(["", "Tc-99m", "I-123", "Lu-177"])),
        agent=draw(st.sampled_from(["", "sestamibi", "thallous chloride"])),
        collimator=draw(st.sampled_from(["", "LEHR", "LEAP", "LEUR", "ME", "HE"])),
        duration_s=draw(st.floats(0, 3600)),
    )
    order = draw(st.sampled_from(["little", "big"]))
    return projections, {"number_format": name, "size": size, "byte_order": order}


@given(acquisitions())
@fuzz(120)
def test_what_is_written_reads_back_equal(made: tuple[Projections, dict[str, Any]]) -> None:
    image, how = made
    with tempfile.TemporaryDirectory(prefix="senmei-fuzz-") as name:
        write_interfile(Path(name, "a.h33"), image, **how)
        found = read_interfile(Path(name, "a.h33"))
    assert isinstance(found, Projections) and found.counts.dtype == image.counts.dtype
    # views of an orbit that is nearly closed may begin elsewhere: the same views, in the same order
    turn = int(np.argmin([abs((a - image.angles_deg[0] + 180) % 360 - 180) for a in found.angles_deg]))
    assert np.array_equal(np.roll(found.counts, -turn, axis=4), image.counts)
    apart = (np.roll(found.angles_deg, -turn) - np.array(image.angles_deg) + 180) % 360 - 180
    assert np.abs(apart).max() < 1e-4
    assert tuple(np.roll(found.radius_mm, -turn)) == image.radius_mm and found.direction == image.direction
    assert found.windows == image.windows and found.pixel_mm == image.pixel_mm
    for key in ("nuclide", "agent", "collimator", "duration_s"):
        assert getattr(found, key) == getattr(image, key)


@given(st.tuples(sizes, sizes, sizes), st.tuples(lengths, lengths, lengths), st.sampled_from(["little", "big"]),
       st.integers(0, 2**32 - 1))  # fmt: skip
@fuzz(40)
def test_volumes_read_back_equal(
    shape: tuple[int, ...], edges: tuple[float, ...], order: Any, seed: int
) -> None:
    affine = np.diag([*edges, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * edges
    volume = Volume(np.random.default_rng(seed).normal(size=shape).astype(np.float32), affine)
    with tempfile.TemporaryDirectory(prefix="senmei-fuzz-") as name:
        write_interfile(Path(name, "a.h33"), volume, byte_order=order)
        found = read_interfile(Path(name, "a.h33"))
    assert isinstance(found, Volume) and np.array_equal(found.data, volume.data)
    assert np.allclose(found.affine, affine, rtol=1e-6)


@given(st.tuples(st.integers(1, 3), sizes, sizes, sizes), st.sampled_from(FORMATS), st.sampled_from(["little", "big"]),
       st.data())  # fmt: skip
@fuzz(60)
def test_planar_images_read_back_equal(
    shape: tuple[int, ...], how: tuple[str, int, int], order: Any, data: st.DataObject
) -> None:
    name, size, most = how
    dtype = np.float32 if "float" in name else np.int32
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    image = PlanarImage(
        counts=rng.poisson(50, shape).clip(0, most).astype(dtype),
        windows=tuple(EnergyWindow(f"window {k + 1}", 90.25 + k, 120.5 + k) for k in range(shape[0])),
        pixel_mm=data.draw(st.tuples(lengths, lengths)),
        views=tuple(data.draw(st.sampled_from(["anterior", "posterior", ""])) for _ in range(shape[1])),
        nuclide="Tc-99m",
        duration_s=data.draw(st.floats(0, 999)),
    )
    with tempfile.TemporaryDirectory(prefix="senmei-fuzz-") as place:
        write_interfile(Path(place, "a.h33"), image, number_format=name, size=size, byte_order=order)
        found = read_interfile(Path(place, "a.h33"))
    assert isinstance(found, PlanarImage) and np.array_equal(found.counts, image.counts)
    for key in ("windows", "pixel_mm", "views", "nuclide", "duration_s"):
        assert getattr(found, key) == getattr(image, key)


# --- files that are nearly sound ---

ODD = st.sampled_from(
    ["", "0", "-1", "1", "2", "3", "1e9", "1e308", "9" * 300, "nan", "inf", "0.5", "{1, 2}", "{", "CW", "GATED",
     "SPECT",
     "Quixotic", "../Quixotic.i33", "/dev/zero", "a.h33", "\0", "é", "short float", "BIGENDIAN", "GSPECT", "Static",
     "Reconstructed", "prone", "gzip", ";", ":=", " " * 500]
)  # fmt: skip
values = ODD | st.text(max_size=12) | st.integers(-(2**70), 2**70).map(str) | st.floats().map(repr)


@cache
def sound(volume: bool = False) -> tuple[tuple[str, ...], bytes]:
    """Lines of a header, and its data."""
    with tempfile.TemporaryDirectory(prefix="senmei-fuzz-") as name:
        return _sound(Path(name), volume)


def _sound(folder: Path, volume: bool) -> tuple[tuple[str, ...], bytes]:
    if volume:
        image: Any = Volume(np.ones((4, 3, 2), np.float32), np.eye(4))
        write_interfile(folder / "a.h33", image)
    else:
        image = Projections(
            np.random.default_rng(0).poisson(9, (2, 2, 4, 3, 6)).astype(np.int32),
            (EnergyWindow("window 1", 126, 154), EnergyWindow("window 2", 90, 120)),
            4.0, tuple(60.0 * k for k in range(6)), "cw", (200.0,) * 6,
        )  # fmt: skip
        write_interfile(folder / "a.h33", image, number_format="unsigned integer", size=2)
    return tuple((folder / "a.h33").read_text().splitlines()), (folder / "a.i33").read_bytes()


EDITS = ("value", "drop", "repeat", "comment", "key", "cut", "insert")
edits = st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 60), values), max_size=5)


def looked_at(path: Path) -> None:
    for convention in CONVENTIONS:
        with bounded():
            found = read_interfile(path, where="sub-001", convention=convention, radius_mm=200)
            if isinstance(found, Volume):
                assert np.isfinite(found.data).all() and np.isfinite(found.affine).all()
            else:
                assert isinstance(found, (Projections, PlanarImage))
                found.check("sub-001")
                assert "uixotic" not in repr((found.facts, found.windows, found.nuclide, found.agent))


@given(st.booleans(), edits, st.none() | st.integers(0, 600), st.binary(max_size=40))
@fuzz(400)
def test_headers_that_are_nearly_sound(
    volume: bool, changes: list[tuple[str, int, str]], cut: int | None, more: bytes
) -> None:
    with tempfile.TemporaryDirectory(prefix="senmei-fuzz-") as name:
        folder = Path(name)
        kept, data = sound(volume)
        lines = list(kept)
        for kind, at, value in changes:
            at %= max(1, len(lines))
            line = lines[at] if lines else ""
            key = line.partition(":=")[0]
            if kind == "value":
                lines[at : at + 1] = [f"{key}:= {value}"]
            elif kind == "key":
                lines[at : at + 1] = [f"{value} := 1"]
            elif kind == "comment":
                lines[at : at + 1] = [f";{line}"]
            elif kind == "drop":
                del lines[at : at + 1]
            elif kind == "repeat":
                lines.insert(at, f"{key}:= {value}")
            elif kind == "insert":
                lines.insert(at, value)
            else:
                lines[at : at + 1] = [line[: len(value)]]
        (folder / "a.h33").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        (folder / "a.i33").write_bytes(data[:cut] + more)
        looked_at(folder / "a.h33")


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"!INTERFILE :=\n", b"!INTERFILE:=\r\nmatrix size [1]:="])
)
@fuzz(100)
def test_bytes_that_are_no_header(content: bytes, head: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="senmei-fuzz-") as name:
        Path(name, "a.h33").write_bytes(head + content)
        looked_at(Path(name, "a.h33"))


@given(st.text(max_size=200))
@fuzz(200)
def test_texts_of_any_kind(text: str) -> None:
    with bounded():
        header = parse_header("!INTERFILE :=\n" + text)
        for key, _ in header.live:
            with contextlib.suppress(DataError):
                header.numbers(key)
            with contextlib.suppress(DataError):
                header.integer(key)


@given(st.binary(min_size=576, max_size=576))
@fuzz(60)
def test_any_bytes_as_floats_are_finite_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="senmei-fuzz-") as name:
        folder = Path(name)
        lines, _ = sound()
        text = "\n".join(lines).replace("unsigned integer", "short float").replace("pixel := 2", "pixel := 4")
        for before, after in (("time windows := 2", "time windows := 1"), ("images := 24", "images := 12"),
                              ("window := 12", "window := 6")):  # fmt: skip
            text = text.replace(before, after)
        (folder / "a.h33").write_text(text)
        (folder / "a.i33").write_bytes(content)
        looked_at(folder / "a.h33")
