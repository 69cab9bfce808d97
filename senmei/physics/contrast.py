"""T1-weighted contrast: from tissues to a clean image, by the signal equation or at random for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

from senmei.core.volume import Volume
from senmei.physics.bias import apply_bias
from senmei.physics.fields import smooth_field, white_noise
from senmei.physics.steady_state import tissue_means

WHITE = 1000.0  # clean white matter before bias, arbitrary units


class Anatomy(Protocol):
    """What can be rendered: see `senmei.phantoms.head.Head`, which is one."""

    @property
    def labels(self) -> Volume:
        """Tissue labels."""

    @property
    def fractions(self) -> np.ndarray:
        """Partial volumes (7, x, y, z)."""

    @property
    def details(self) -> dict[str, np.ndarray]:
        """Maps `distance`, `myelin`, `marrow`, `muscle`, `vessel`."""

    @property
    def affine(self) -> np.ndarray:
        """Voxel index -> mm."""

    @property
    def relative_mm(self) -> float:
        """Voxel size in millimetres of a human head."""


@dataclass(frozen=True)
class Appearance:
    """Everything about how one head looks (white matter = 1). See `apply_appearance`.

    means : tissue -> relative signal. seed : of the textures. smooth, texture, tracts : amplitude of slow
    variation, fine texture and tract-like texture (fractions of each tissue's signal). layers : slope of the signal
    through the cortex (brighter, myelinated, near white matter). psf : Gaussian blur, sigma in voxels.
    sharpen : unsharp fraction. bias : log-field control points or None. gamma : exponent of the intensities.
    """

    means: dict[str, float]
    seed: int
    smooth: float
    texture: float
    tracts: float
    layers: float
    psf: float
    sharpen: float
    bias: np.ndarray | None = None
    gamma: float = 1.0


def draw_physical(rng: np.random.Generator, tesla: float) -> Appearance:
    """How a head looks at a field strength: the signal equation, with biological spread of a few percent."""
    means = tissue_means(tesla)
    means = {
        k: v * float(1 + 0.02 * rng.standard_normal()) if k != "white" else 1.0 for k, v in means.items()
    }
    means["soft"] = min(means["soft"], 1.6)
    return Appearance(
        means=means,
        seed=int(rng.integers(2**31)),
        smooth=float(rng.uniform(0.02, 0.04)),
        texture=float(rng.uniform(0.008, 0.02)),
        tracts=float(rng.uniform(0.015, 0.03)),
        layers=float(rng.uniform(0.1, 0.22)),
        psf=float(rng.uniform(0.4, 0.65)),
        sharpen=0.0,
    )


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """Domain randomisation for training: any plausible T1w look, so that networks transfer to real scanners."""
    grey = float(rng.uniform(0.5, 0.84))
    means = {
        "white": 1.0,
        "grey": grey,
        "deep_grey": float(grey + (1 - grey) * rng.uniform(0.1, 0.7)),
        "csf": float(rng.uniform(0.05, 0.45) * grey),
        "bone": float(rng.uniform(0.02, 0.15)),
        "marrow": float(rng.uniform(0.3, 1.2)),
        "soft": float(rng.uniform(0.5, 1.5)),
        "blood": float(rng.uniform(0.2, 1.5)),
    }
    return Appearance(
        means=means,
        seed=int(rng.integers(2**31)),
        smooth=float(rng.uniform(0.01, 0.05)),
        texture=float(rng.uniform(0.0, 0.035)),
        tracts=float(rng.uniform(0.0, 0.05)),
        layers=float(rng.uniform(0.0, 0.35)),
        psf=float(rng.uniform(0.0, 0.8)),
        sharpen=float(max(0.0, rng.uniform(-0.3, 0.3))),
        bias=0.06 * rng.standard_normal((4, 4, 4)).astype(np.float32),
        gamma=float(rng.uniform(0.85, 1.15)),
    )


def apply_appearance(head: Anatomy, appearance: Appearance) -> Volume:
    """Render a head: float32 Volume, median of white matter 1000 before bias. Pure: the same arguments, the same image.

    Texture and layers live in the anatomy's millimetres; psf and sharpening in voxels.
    """
    a, f = appearance, head.fractions
    rng = np.random.default_rng(a.seed)
    shape = f.shape[1:]
    m = a.means
    distance = head.details["distance"]
    slow = [1 + a.smooth * smooth_field(rng.standard_normal((9, 10, 9)), shape) for _ in range(3)]
    fine = _texture(shape, (0.55, 1.2), (1.0, 0.7), head.relative_mm, rng)
    coarse = _texture(shape, (1.0, 2.4), (0.8, 1.0), head.relative_mm, rng)
    texture = 1 + a.texture * fine
    layers = 1 + a.layers * (0.5 - np.clip(distance, 0, 3) / 3)
    fibres = 1 + a.tracts * coarse
    # close to the cortex white matter is a little darker (short fibres, thinner myelin)
    white = (
        m["white"] * slow[0] * fibres * texture * (1 - 0.25 * a.layers * np.exp(np.minimum(distance, 0) / 2))
    )
    grey = m["grey"] * slow[1] * layers * texture
    deep = (
        (m["deep_grey"] + (m["white"] - m["deep_grey"]) * 0.6 * head.details["myelin"])
        * slow[2]
        * fibres
        * texture
    )
    image = f[3] * white + f[2] * grey + f[4] * deep + f[1] * m["csf"]
    if f[5:].any():
        bone = m["bone"] + (m["marrow"] - m["bone"]) * head.details["marrow"]
        soft = m["soft"] + (m["grey"] - m["soft"]) * head.details["muscle"]
        image += f[5] * bone + f[6] * soft * slow[2] * (1 + 3 * a.tracts * coarse)
    image += head.details["vessel"] * (m["blood"] - image) * (f[0] < 0.5)
    image = np.clip(image, 0, None) ** a.gamma
    if a.psf > 0.05:
        image = ndimage.gaussian_filter(image, a.psf, truncate=3)
    if a.sharpen:
        image = image + a.sharpen * (image - ndimage.gaussian_filter(image, 0.8, truncate=3))
    white_matter = head.labels.data == 3
    unit = float(np.median(image[white_matter])) if white_matter.any() else 1.0
    volume = Volume((WHITE / unit * np.clip(image, 0, None)).astype(np.float32), head.affine)
    return volume if a.bias is None else apply_bias(volume, a.bias)


def _texture(
    shape: tuple[int, ...],
    scales: tuple[float, ...],
    shares: tuple[float, ...],
    voxel: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Unit-variance isotropic texture of several scales (sigma in template mm), float32."""
    noise, total = white_noise(shape, rng), np.zeros(shape, np.float32)
    for scale, share in zip(scales, shares, strict=True):
        part = ndimage.gaussian_filter(noise, scale / voxel, truncate=3)
        total += share * part / max(float(part.std()), 1e-12)
    return total / max(float(total.std()), 1e-12)


def render_t1w(head: Anatomy, tesla: float, rng: np.random.Generator) -> Volume:
    """A T1-weighted image of a head at 1.5, 3 or 7 T: `draw_physical` then `apply_appearance`. No bias field."""
    return apply_appearance(head, draw_physical(rng, tesla))
