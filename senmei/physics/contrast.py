"""T1-weighted contrast: from tissues to a clean image, by the signal equation or at random for training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from senmei.core.errors import ConfigError
from senmei.core.volume import Volume
from senmei.physics.fields import smooth_field, white_noise

WHITE = 1000.0  # clean white matter before bias, arbitrary units

# T1 (ms): grey and white matter Wright 2008 (MAGMA 21:121), CSF Rooney 2007 (Magn Reson Med 57:308), deep grey
# between the two as in Rooney; marrow and soft tissue are mixtures with fat (T1 about 300 ms). T2* (ms): Peters 2007
# (Magn Reson Imaging 25:748) for grey and white. PD: relative to CSF.
TISSUE_T1 = {
    1.5: {"csf": 4070, "grey": 1197, "white": 646, "deep_grey": 980, "bone": 300, "marrow": 300, "soft": 420, "blood": 1480},
    3.0: {"csf": 4300, "grey": 1607, "white": 838, "deep_grey": 1290, "bone": 350, "marrow": 380, "soft": 500, "blood": 1650},
    7.0: {"csf": 4425, "grey": 1939, "white": 1126, "deep_grey": 1640, "bone": 400, "marrow": 450, "soft": 620, "blood": 2090},
}
TISSUE_T2S = {
    1.5: {"csf": 300, "grey": 84, "white": 66, "deep_grey": 60, "bone": 0.5, "marrow": 20, "soft": 30, "blood": 100},
    3.0: {"csf": 250, "grey": 66, "white": 53, "deep_grey": 45, "bone": 0.4, "marrow": 12, "soft": 25, "blood": 60},
    7.0: {"csf": 150, "grey": 33, "white": 27, "deep_grey": 22, "bone": 0.3, "marrow": 6, "soft": 15, "blood": 15},
}
PD = {"csf": 1.0, "grey": 0.82, "white": 0.70, "deep_grey": 0.78, "bone": 0.1, "marrow": 0.75, "soft": 0.8, "blood": 0.85}


@dataclass(frozen=True)
class Sequence:
    """A T1-weighted 3D sequence; times in ms, angle in degrees. inversion 0 = spoiled gradient echo, no inversion.

    inversion : TI from the inversion to the centre of k-space; cycle : time from inversion to inversion.
    echo_spacing : TR of the readout pulses; pulses : number of them a cycle.
    """

    flip: float
    echo: float
    echo_spacing: float
    inversion: float = 0.0
    cycle: float = 0.0
    pulses: int = 1
    efficiency: float = 0.96


SEQUENCES = {
    1.5: Sequence(8, 3.9, 9.0, inversion=1000, cycle=2000, pulses=128),
    3.0: Sequence(9, 3.0, 7.1, inversion=900, cycle=2300, pulses=176),
    7.0: Sequence(7, 2.6, 6.2, inversion=1100, cycle=2600, pulses=192),
}


def signal(t1: np.ndarray, t2s: np.ndarray, pd: np.ndarray, s: Sequence) -> np.ndarray:
    """Magnitude of the steady state, any broadcastable shapes, relative to PD.

    Spoiled gradient echo (Ernst), or MPRAGE: inversion, recovery, a train of `pulses` that relaxes with
    1/T1* = 1/T1 - ln(cos a)/TR towards M0*, recovery [Deichmann 2000, NeuroImage 12:112].
    """
    t1 = np.asarray(t1, np.float64)
    a = np.deg2rad(s.flip)
    e1 = np.exp(-s.echo_spacing / t1)
    ernst = (1 - e1) / (1 - np.cos(a) * e1)
    if not s.inversion:
        return pd * np.sin(a) * ernst * np.exp(-s.echo / t2s)
    rate = 1 / t1 - np.log(np.cos(a)) / s.echo_spacing
    half = s.pulses * s.echo_spacing / 2
    before, after = s.inversion - half, s.cycle - s.inversion - half
    if before < 0 or after < 0:
        raise ConfigError("Cannot play the sequence", where=str(s), why="the readout train does not fit around TI",
                          fix="use fewer pulses, a longer TI or a longer cycle")
    # each period maps m -> gain * m + gained; solve for the periodic state just before inversion
    periods = [
        (-s.efficiency, 0.0),
        (np.exp(-before / t1), 1 - np.exp(-before / t1)),
        (np.exp(-half * rate), ernst * (1 - np.exp(-half * rate))),
        (np.exp(-half * rate), ernst * (1 - np.exp(-half * rate))),
        (np.exp(-after / t1), 1 - np.exp(-after / t1)),
    ]
    gain, gained = 1.0, 0.0
    for g, b in periods:
        gain, gained = g * gain, g * gained + b
    m = gained / (1 - gain)
    for g, b in periods[:3]:
        m = g * m + b
    return np.abs(pd * np.sin(a) * m * np.exp(-s.echo / t2s))


@dataclass(frozen=True)
class Appearance:
    """Everything about how one head looks (white matter = 1). See `apply_appearance`.

    means : tissue -> relative signal. seed : of the textures. smooth, texture, tracts : amplitude of slow
    variation, fine texture and tract-like texture (fractions of each tissue's signal). layers : slope of the signal
    through the cortex (brighter, myelinated, near white matter). psf : Gaussian blur, sigma in voxels.
    sharpen : unsharp fraction. bias : log-field control points or None. vessels : relative brightness.
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


def tissue_means(tesla: float, sequence: Sequence | None = None) -> dict[str, float]:
    """Relative T1w signal of each tissue at a field (white matter = 1). Raises ConfigError for an unknown field."""
    if tesla not in TISSUE_T1:
        raise ConfigError(f"No relaxation times at {tesla} T", where="tesla", why="the table has 1.5, 3 and 7 T",
                          fix="use 1.5, 3 or 7")
    s = sequence or SEQUENCES[tesla]
    raw = {k: float(signal(TISSUE_T1[tesla][k], TISSUE_T2S[tesla][k], PD[k], s)) for k in PD}
    return {k: v / raw["white"] for k, v in raw.items()}


def draw_physical(rng: np.random.Generator, tesla: float) -> Appearance:
    """How a head looks at a field strength: the signal equation, with biological spread of a few percent."""
    means = tissue_means(tesla)
    means = {k: v * float(1 + 0.02 * rng.standard_normal()) if k != "white" else 1.0 for k, v in means.items()}
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


def apply_appearance(head, appearance: Appearance) -> Volume:
    """Render a head: float32 Volume, median of white matter 1000 before bias. Pure: the same arguments, the same image.

    head : anything with `fractions` (7, x, y, z), `details` (`distance`, `marrow`, `vessel`) and `labels`.
    """
    from senmei.physics.bias import apply_bias

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
    white = m["white"] * slow[0] * fibres * texture * (1 - 0.25 * a.layers * np.exp(np.minimum(distance, 0) / 2))
    grey = m["grey"] * slow[1] * layers * texture
    deep = (m["deep_grey"] + (m["white"] - m["deep_grey"]) * 0.6 * head.details["myelin"]) * slow[2] * fibres * texture
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
    shape: tuple[int, ...], scales: tuple[float, ...], shares: tuple[float, ...], voxel: float, rng: np.random.Generator
) -> np.ndarray:
    """Unit-variance isotropic texture of several scales (sigma in template mm), float32."""
    noise, total = white_noise(shape, rng), np.zeros(shape, np.float32)
    for scale, share in zip(scales, shares, strict=True):
        part = ndimage.gaussian_filter(noise, scale / voxel, truncate=3)
        total += share * part / max(float(part.std()), 1e-12)
    return total / max(float(total.std()), 1e-12)


def render_t1w(head, tesla: float, rng: np.random.Generator) -> Volume:
    """A T1-weighted image of a head at 1.5, 3 or 7 T: `draw_physical` then `apply_appearance`. No bias field."""
    return apply_appearance(head, draw_physical(rng, tesla))
