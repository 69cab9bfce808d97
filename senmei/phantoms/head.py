"""A head: individual anatomy with exact labels and partial volume, drawn from the MNI152 population maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from senmei.core.errors import ConfigError, nearest
from senmei.core.volume import Volume

TISSUES = ("background", "csf", "grey", "white", "deep_grey", "skull", "soft")
CENTRE = np.array([0.0, -18.0, 8.0])  # of the template's brain, mm


@dataclass(frozen=True)
class Species:
    """How a species differs from the template.

    scale : brain extent relative to MNI (x, y, z). folding : strength of the folds (1 human). thickness : of the
    cortex, template mm. smooth_mm : smoothing of the template's own gyri. voxel_mm : typical.
    surrogate : '' or what to say.
    """

    scale: tuple[float, float, float]
    folding: float
    thickness: float
    smooth_mm: float
    voxel_mm: float
    surrogate: str


SPECIES = {
    "human": Species((1.0, 1.0, 1.0), 1.0, 2.9, 0.0, 1.0, ""),
    "rat": Species(
        (0.115, 0.125, 0.085), 0.15, 7.0, 3.0, 0.2, "rat surrogate: human anatomy, smoothed and scaled"
    ),
    "mouse": Species(
        (0.075, 0.085, 0.055), 0.1, 7.0, 3.5, 0.1, "mouse surrogate: human anatomy, smoothed and scaled"
    ),
}


@dataclass(frozen=True)
class HeadParameters:
    """Everything that makes one head: plain numbers and small arrays; lengths in template mm.

    scale, shear : global size (x, y, z) and shape. velocity : (3, 6, 6, 6) control points of a stationary velocity,
    mm. wobble : (3, 12, 14, 12) the same, finer, so that sulci wander. folding_seed : of all fields that fold or
    roughen. folding : strength of the folds (1 human). wavelength : of gyri, mm. thickness : mean cortex, mm, and
    `thickness_map` its (8, 8, 8) variation. ventricle : offset of ventricular size. atrophy : 0 to 1, how wide sulci
    are. skull_mm, scalp_mm : mean shells. strip_mm : how far beyond the cortex a brain extraction leaves CSF.
    """

    species: str
    scale: tuple[float, ...]
    shear: tuple[float, ...]
    velocity: np.ndarray
    wobble: np.ndarray
    folding_seed: int
    folding: float
    wavelength: float
    thickness: float
    thickness_map: np.ndarray
    ventricle: float
    atrophy: float
    skull_mm: float
    scalp_mm: float
    strip_mm: float


@dataclass(frozen=True)
class Head:
    """A built head.

    labels : uint8 Volume, the arg max of `fractions` (codes: position in TISSUES).
    fractions : (7, x, y, z) float32, partial volumes that sum to one.
    details : float32 maps that contrast may use: `distance` (template mm from the white-matter surface, positive
        outside), `myelin` (0 to 1, within deep grey matter), `marrow` (within skull), `muscle` (within soft tissue),
        `vessel` (0 to 1, covers any tissue).
    relative_mm : voxel size in template mm. surrogate : '' for humans, else what must stand beside every result.
    """

    labels: Volume
    fractions: np.ndarray
    details: dict[str, np.ndarray]
    affine: np.ndarray
    parameters: HeadParameters
    relative_mm: float
    surrogate: str = ""


def species_of(name: str) -> Species:
    """The table row of a species. Raises ConfigError for an unknown one."""
    if name not in SPECIES:
        raise ConfigError(
            f"Unknown species '{name}'",
            where=f"species '{name}'",
            why="no anatomy of this species is known",
            fix=nearest(name, SPECIES),
        )
    return SPECIES[name]


def draw_head(rng: np.random.Generator, species: str = "human") -> HeadParameters:
    """Draw one individual. Same generator state, same individual."""
    s = species_of(species)
    size = 1 + 0.035 * rng.standard_normal()
    return HeadParameters(
        species=species,
        scale=tuple(float(a) for a in size * (1 + 0.03 * rng.standard_normal(3))),
        shear=tuple(float(a) for a in 0.02 * rng.standard_normal(3)),
        velocity=3.0 * rng.standard_normal((3, 6, 6, 6)).astype(np.float32),
        wobble=1.5 * rng.standard_normal((3, 12, 14, 12)).astype(np.float32),
        folding_seed=int(rng.integers(2**31)),
        folding=float(s.folding * rng.uniform(0.9, 1.15)),
        wavelength=float(rng.uniform(9.5, 12.5)),
        thickness=float(s.thickness * rng.uniform(0.92, 1.08)),
        thickness_map=rng.standard_normal((8, 8, 8)).astype(np.float32),
        ventricle=float(rng.normal(0, 0.5)),
        atrophy=float(rng.uniform(0, 1)),
        skull_mm=float(rng.uniform(5, 8)),
        scalp_mm=float(rng.uniform(4, 8)),
        strip_mm=float(rng.uniform(0, 2.5) if rng.random() < 0.7 else rng.uniform(3, 9)),
    )


def head_grid(species: str, voxel_mm: float, skull: bool) -> tuple[tuple[int, int, int], np.ndarray]:
    """(shape, affine) of the default field of view: the head, or the brain alone; RAS, isotropic."""
    extent = np.array([200.0, 240.0, 204.0]) if skull else np.array([164.0, 204.0, 172.0])
    scale = np.array(species_of(species).scale)
    x, y, z = (int(n) for n in np.ceil(extent * scale / voxel_mm))
    affine = np.diag([voxel_mm] * 3 + [1.0])
    affine[:3, 3] = CENTRE * scale - voxel_mm * (np.array([x, y, z]) - 1) / 2
    return (x, y, z), affine


def build_head(
    parameters: HeadParameters, voxel_mm: float, shape: tuple[int, int, int] | None = None, skull: bool = True
) -> Head:
    """Build a head on an isotropic grid.

    voxel_mm : edge length in the species' own millimetres. shape : (x, y, z) of the grid, centred on the brain;
    by default what holds the head (or the brain). skull : False for a brain-extracted image: skull and soft tissue
    become background. Returns a Head; labels and fractions are exact for the drawn anatomy. Pure: the same
    arguments, the same head. Raises ConfigError on an impossible voxel size.
    """
    from senmei.phantoms.anatomy import tissues

    species = species_of(parameters.species)
    relative = float(voxel_mm) / float(np.prod(species.scale) ** (1 / 3))
    if not 0.3 <= relative <= 8:
        one = float(np.prod(species.scale) ** (1 / 3))
        raise ConfigError(
            f"Cannot build a {parameters.species} head at {voxel_mm:g} mm",
            where="voxel_mm",
            why="the anatomy is known at about 1 mm (relative to a human brain)",
            fix=f"use {0.3 * one:.2g} to {8 * one:.2g} mm; typical: {species.voxel_mm:g} mm",
        )
    default, affine = head_grid(parameters.species, voxel_mm, skull)
    if shape is None:
        shape = default
    affine[:3, 3] += voxel_mm * (np.array(default) - np.array(shape)) / 2
    fractions, details = tissues(parameters, affine, shape, skull)
    labels = Volume(fractions.argmax(0).astype(np.uint8), affine)
    return Head(labels, fractions, details, affine, parameters, relative, species.surrogate)
