"""Teacher images that need no download: photographs, and slices of a template, of heads and of torsos.

A source (one photograph, one head, one torso, the template) is a subject, so that no two splits share one. The
photographs ship inside scikit-image's and scikit-learn's packages and are read from there; nothing is fetched. Slices
of a head or torso are drawn by number, so that a name is always the same image. All heads descend from the template's
tissue maps with their own size, folds and contrast: whoever wants no relation at all between training and test leaves
either the template or the heads out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from senmei.core.errors import ConfigError, DataError, nearest
from senmei.core.volume import Volume
from senmei.io.pictures import luma, to_size, upright, window

KINDS = ("photograph", "medical")
SIZE = 256
PIXEL_MM = 1.34  # of a printed teacher: two of the report's 0.67 mm pixels


@dataclass(frozen=True)
class Teacher:
    """A teacher image before it is loaded.

    name : of the image. subject : of its source, which no two splits may share. kind : photograph | medical.
    source : where it comes from. licence : as far as that source tells it; "" where it does not.
    """

    name: str
    subject: str
    kind: str
    source: str
    licence: str = ""


_NO_LIMITS = "no known copyright restrictions"
_ICBM = "ICBM licence: keep the template's copyright notice"
_OURS = "drawn by this program from numbers: nobody else's work is in it"
# name -> (file, licence as the package's documentation states it). Textures and binary pictures are left in: the
# report's point was variety. Of the two motorcycle views one is taken.
_PHOTOGRAPHS: dict[str, tuple[str, str]] = {
    "astronaut": ("astronaut.png", "public domain"),
    "brick": ("brick.png", "CC0"),
    "camera": ("camera.png", "CC0"),
    "cell": ("cell.png", "CC0"),
    "chelsea": ("chelsea.png", "CC0"),
    "clock": ("clock_motion.png", "public domain"),
    "coffee": ("coffee.png", "CC0"),
    "coins": ("coins.png", _NO_LIMITS),
    "grass": ("grass.png", "CC0"),
    "gravel": ("gravel.png", "CC0"),
    "hubble": ("hubble_deep_field.jpg", "public domain"),
    "ihc": ("ihc.png", _NO_LIMITS),
    "moon": ("moon.png", ""),
    "motorcycle": ("motorcycle_left.png", ""),
    "page": ("page.png", ""),
    "retina": ("retina.jpg", "CC0"),
    "rocket": ("rocket.jpg", "public domain"),
    "text": ("text.png", "public domain"),
    "china": ("china.jpg", "CC BY 2.0, danielbuechele"),
    "flower": ("flower.jpg", "CC BY 2.0, vultilion"),
}
_SKLEARN = ("china", "flower")
_TEMPLATE = ("z-20", "z5", "z20", "z40", "y-50", "y-10", "x8")
_HEADS, _HEAD_SLICES = 10, ("z0", "z30", "y-20")
_TORSOS, _TORSO_SLICES = 10, ("z0", "z-60", "y0")
_PLANES = {"x": 0, "y": 1, "z": 2}
_SEED = 1797  # of heads and torsos: changing it makes other teachers of the same names


@lru_cache(maxsize=1)
def _all() -> dict[str, Teacher]:
    found = []
    for name, (_, licence) in _PHOTOGRAPHS.items():
        package = "scikit-learn" if name in _SKLEARN else "scikit-image"
        found.append(Teacher(name, name, "photograph", f"{package}'s package", licence))
    for cut in _TEMPLATE:
        source = "MNI ICBM152 2009a template (Fonov 2011, NeuroImage 54:313) in nilearn's package"
        found.append(Teacher(_named("mni152", cut), "mni152", "medical", source, _ICBM))
    for n in range(1, _HEADS + 1):
        for cut in _HEAD_SLICES:
            source = "Senmei, a drawn head, T1-weighted, descended from the MNI template's tissue maps"
            found.append(Teacher(_named(f"head{n:02d}", cut), f"head{n:02d}", "medical", source, _ICBM))
    for n in range(1, _TORSOS + 1):
        for cut in _TORSO_SLICES:
            source = "Senmei, a drawn torso, CT"
            found.append(Teacher(_named(f"torso{n:02d}", cut), f"torso{n:02d}", "medical", source, _OURS))
    return {t.name: t for t in found}


def _named(subject: str, cut: str) -> str:
    """'head01' and 'z-20' -> 'head01zm20': letters and digits only, as BIDS labels are."""
    return f"{subject}{cut.replace('-', 'm')}"


def _cut(name: str, subject: str) -> tuple[int, float]:
    """Axis and position (mm) of a named slice."""
    cut = name.removeprefix(subject)
    return _PLANES[cut[0]], float(cut[1:].replace("m", "-"))


def teachers(kind: str | None = None) -> tuple[Teacher, ...]:
    """All embedded teachers, or those of a kind. Raises ConfigError for an unknown kind."""
    if kind is not None and kind not in KINDS:
        why = "teachers are photographs or medical slices"
        raise ConfigError(f"unknown kind '{kind}'", where="teachers: kind", why=why, fix=nearest(kind, KINDS))
    return tuple(t for t in _all().values() if kind in (None, t.kind))


def load_teacher(name: str, size: int = SIZE, pixel_mm: float = PIXEL_MM) -> Volume:
    """The teacher of this name: (size, size, 1) float32 grey 0..1, x right, y up, centred, pixels of `pixel_mm`.

    Photographs: luma of BT.601, full range of their 8 bits, the middle square. Template and heads: 0 to the 99.8th
    percentile of the slice. Torsos: Hounsfield units from -200 to 300. Slices are padded to squares and seen in
    radiological convention. All are resampled by `senmei.io.pictures.to_size`, without aliasing.
    Raises ConfigError for an unknown name, DataError where a package lacks its picture.
    """
    known = _all()
    if name not in known:
        why = "no embedded image is called so"
        raise ConfigError(f"unknown teacher '{name}'", where="teachers", why=why, fix=nearest(name, known))
    teacher = known[name]
    if teacher.kind == "photograph":
        return upright(to_size(_photograph(name), size, "crop"), pixel_mm)
    axis, at = _cut(name, teacher.subject)
    if teacher.subject == "mni152":
        grey = _bright(_template_slice(axis, at))
    elif teacher.subject.startswith("head"):
        grey = _bright(_head_slice(int(teacher.subject[4:]), axis, at))
    else:
        grey = window(_torso_slice(int(teacher.subject[5:]), axis, at, size), -200.0, 300.0)
    return upright(to_size(grey.T[::-1], size, "pad"), pixel_mm)


def _photograph(name: str) -> NDArray[np.float64]:
    if name in _SKLEARN:
        from sklearn import datasets as package

        folder = Path(str(package.__file__)).parent / "images"
    else:
        import skimage

        folder = Path(skimage.__file__).parent / "data"
    from skimage.io import imread

    path = folder / _PHOTOGRAPHS[name][0]
    if not path.is_file():
        raise DataError(
            "An embedded teacher is missing",
            where=f"{folder.parent.name}/{folder.name}/{path.name}",
            why="this build of the package does not ship its small pictures",
            fix=f"install the package from PyPI or conda-forge, or leave '{name}' out",
        )
    picture = np.asarray(imread(path))
    return (luma(picture[..., :3]) if picture.ndim == 3 else picture.astype(np.float64)) / 255.0


def _bright(plane: NDArray) -> NDArray[np.float64]:
    return window(plane, 0.0, max(float(np.percentile(plane, 99.8)), 1e-6))


@lru_cache(maxsize=1)
def _template() -> Any:
    from nilearn import datasets

    return datasets.load_mni152_template(resolution=1)


def _template_slice(axis: int, at: float) -> NDArray:
    image = _template()
    index = round(float(np.linalg.inv(image.affine)[axis] @ [*[at] * 3, 1.0]))
    plane = np.take(np.asarray(image.dataobj), index, axis)
    return plane[::-1]


def _head_slice(number: int, axis: int, at: float) -> NDArray:
    """A T1-weighted slice, 1 mm; built as a slab of 25 mm since folds are shaped in three dimensions."""
    from senmei.phantoms.anatomy import tissues
    from senmei.phantoms.head import CENTRE, Head, draw_head
    from senmei.physics.contrast import render_t1w

    anatomy, look = (np.random.default_rng([_SEED, number, k]) for k in range(2))
    drawn = draw_head(anatomy)
    shape = [200, 240, 204]
    shape[axis] = 25
    affine = np.eye(4)
    affine[:3, 3] = CENTRE - (np.array(shape) - 1) / 2
    affine[axis, 3] = at - 12
    fractions, details = tissues(drawn, affine, (shape[0], shape[1], shape[2]), True)
    labels = Volume(fractions.argmax(0).astype(np.uint8), affine)
    image = render_t1w(Head(labels, fractions, details, affine, drawn, 1.0), 3.0, look)
    return np.take(image.data, 12, axis)[::-1]


# Hounsfield units of a torso's parts in a portal-venous phase (assumed: textbook values, rounded)
_HOUNSFIELD = {
    "background": -1000, "muscle": 60, "fat": -100, "lung": -820, "liver": 110, "spleen": 120, "kidney": 170,
    "stomach_wall": 70, "stomach": 15, "gut": 40, "gallbladder": 10, "spine": 220, "rib": 280, "cartilage": 100,
    "sternum": 180, "breast": -60, "vessels": 160, "blood": 150, "myocardium": 100, "right_ventricle": 110,
    "valve": 100,
}  # fmt: skip


def _torso_slice(number: int, axis: int, at: float, size: int) -> NDArray:
    """Hounsfield units of a plane, three samples a pixel and side averaged; no noise."""
    from senmei.phantoms.torso_organs import PARTS, paint
    from senmei.phantoms.torso_shape import FIELD_MM, draw_torso
    from senmei.phantoms.ventricle import contraction, ventricle

    shape = draw_torso(np.random.default_rng([_SEED, 1000 + number]))
    n = 3 * size
    wide = ((np.arange(n) + 0.5) / n - 0.5) * FIELD_MM
    axes = [wide, wide, wide]
    axes[axis] = np.array([at])
    grid = [a.reshape([-1 if k == i else 1 for k in range(3)]).astype(np.float32) for i, a in enumerate(axes)]
    codes, _ = paint(shape, ventricle(shape.heart, contraction(0, 1)), None, *grid)
    units = np.array([_HOUNSFIELD[part] for part in PARTS], np.float64)
    # contrast medium and fat differ between patients: the spread of a few per cent is assumed
    units[1:] += 12.0 * np.random.default_rng([_SEED, 2000 + number]).standard_normal(len(units) - 1)
    plane = np.take(units[codes], 0, axis)
    return plane.reshape(size, 3, size, 3).mean((1, 3))[::-1]
