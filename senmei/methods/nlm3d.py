"""Non-local means in 3D, corrected for Rician noise: ours, in torch, one code for CPU and GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import ClassVar

import numpy as np
import torch

from senmei.core.errors import ConfigError
from senmei.core.volume import Volume
from senmei.methods.tuned import Tuned, positive
from senmei.physics.noise_level import estimate_sigma_map

_LOG2E = 1.4426950408889634  # exp(x) = 2^(x log2 e), and exp2 is several times faster in torch
DIPY_BETA = 2.0**0.25  # h / sigma of dipy's classic non-local means: h^2 = sqrt(2) sigma^2


def nlm3d(
    data: np.ndarray,
    sigma: float | np.ndarray,
    h: float | np.ndarray,
    search_radius: int = 5,
    patch_radius: int = 1,
    rician: bool = True,
    mask: np.ndarray | None = None,
    device: str = "cpu",
    block: tuple[int, int, int] | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Non-local means of a 3D magnitude volume.

    data : (x, y, z) real, finite. sigma, h : noise sigma and filter strength in the data's units, above zero;
    numbers or (x, y, z) arrays. mask : (x, y, z), voxels to restore (default all); the others become 0, but are
    still averaged. device : torch device. block : voxels restored at a time (default: what suits the device's
    cache); it bounds the working memory and does not change the result. threads : on a CPU, blocks restored side
    by side (default: torch's own number).

    Returns (x, y, z) float32, sqrt(max(0, sum_q w_q y_q^2 / sum_q w_q - 2 sigma^2)) with
    w_q = exp(-d_q / h^2), d_q the mean squared difference of the patches around the voxel and around q. q runs
    over all voxels whose patch lies in the window of (2 search_radius + 1)^3 voxels, so its centre moves by at
    most search_radius - patch_radius. Without `rician`, 2 sigma^2 is not subtracted. The volume is mirrored at
    its faces. These are the conventions of dipy's classic algorithm, whose h is 2^(1/4) sigma. Work grows with
    the window's volume, not with the patch's.
    [Buades et al. 2005, Multiscale Model Simul 4:490; Coupe et al. 2008, IEEE Trans Med Imaging 27:425;
    Wiest-Daessle et al. 2008, MICCAI 5242:171]
    """
    image = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))
    wanted = None if mask is None else torch.from_numpy(np.ascontiguousarray(mask) > 0)
    shape = tuple(image.shape)
    # one scale for all blocks keeps squares in float32's range, whatever the unit
    scale = float(np.mean(h))
    strength = torch.as_tensor(np.asarray(h, dtype=np.float32) / np.float32(scale))
    out = torch.zeros(shape, dtype=torch.float32)

    def restore(box: tuple[slice, ...]) -> None:
        with torch.inference_mode():
            tile = _mirrored(image, box, search_radius).to(device).div_(scale)
            local = strength[box].to(device) if strength.ndim else strength
            out[box] = _restore_tile(tile, local, search_radius - patch_radius, patch_radius).to("cpu")

    _each(restore, list(_boxes(shape, block or _default_block(device), wanted)), device, threads)
    if rician:
        noise = torch.as_tensor(np.asarray(sigma, dtype=np.float32) / np.float32(scale))
        out.sub_(2 * noise**2).clamp_(min=0)
    out.sqrt_().mul_(scale)
    if wanted is not None:
        out.mul_(wanted)
    return out.numpy()


def _each(
    work: Callable[[tuple[slice, ...]], None],
    boxes: Sequence[tuple[slice, ...]],
    device: str,
    threads: int | None,
) -> None:
    """Work on every box: one after the other on a GPU, side by side on a CPU.

    On a CPU each box has one thread. Splitting every small operation over the cores instead costs a barrier
    each, and where another process holds one of the cores that was measured to be 20 times slower. Torch's
    number of threads belongs to the process, so it is 1 meanwhile, and then what it was.
    """
    if torch.device(device).type != "cpu":
        for box in boxes:
            work(box)
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(max(1, threads or before)) as pool:
            for _ in pool.map(work, boxes):
                pass
    finally:
        torch.set_num_threads(before)


def _restore_tile(tile: torch.Tensor, strength: torch.Tensor, move: int, patch: int) -> torch.Tensor:
    """Weighted mean of squares for the inside of a tile that has a halo of move + patch voxels.

    Everything after the difference runs over contiguous memory: a sum over a neighbourhood is a sum of shifted
    flat views, whose entries at the ends of rows are wrapped around and never read.
    """
    grid = [n - 2 * move for n in tile.shape]  # the inside, and the patch around it
    inner = [n - 2 * patch for n in grid]
    if bool((tile == tile[0, 0, 0]).all()):  # exactly zero background
        return (tile[0, 0, 0] ** 2).expand(inner)
    steps = (1, grid[2], grid[1] * grid[2])
    used = sum((n - 1) * step for n, step in zip(reversed(inner), steps, strict=True)) + 1
    centre = _part(tile, (move,) * 3, grid).contiguous()
    square = tile * tile
    difference, one, two = (torch.empty_like(centre) for _ in range(3))
    exponent = -_LOG2E / ((2 * patch + 1) ** 3 * strength**2)
    if exponent.ndim:
        factor = torch.zeros_like(centre)
        _part(factor, (0, 0, 0), inner).copy_(exponent)
        exponent = factor.view(-1)[:used]
    weights = torch.zeros_like(centre)
    weighted = torch.zeros(inner, device=tile.device)
    for offset in product(range(2 * move + 1), repeat=3):
        torch.sub(centre, _part(tile, offset, grid), out=difference)
        summed = torch.mul(difference, difference, out=difference).view(-1)
        for step, spare in zip(steps, (one, two, one), strict=True):
            if patch:
                summed = _running_sum(summed, 2 * patch + 1, step, spare.view(-1))
        weight = summed[:used].mul_(exponent).exp2_()
        weights.view(-1)[:used].add_(weight)
        around = [o + patch for o in offset]
        weighted.addcmul_(torch.as_strided(weight, inner, centre.stride()), _part(square, around, inner))
    return weighted.div_(_part(weights, (0, 0, 0), inner))


def _running_sum(values: torch.Tensor, count: int, step: int, out: torch.Tensor) -> torch.Tensor:
    """Sums of `count` values `step` apart, into the beginning of `out`."""
    length = values.numel() - (count - 1) * step
    out = out[:length]
    torch.add(values[:length], values[step : step + length], out=out)
    for k in range(2, count):
        out.add_(values[k * step : k * step + length])
    return out


def _part(tile: torch.Tensor, start: Sequence[int], size: Sequence[int]) -> torch.Tensor:
    return tile[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]


def _mirrored(image: torch.Tensor, box: tuple[slice, ...], halo: int) -> torch.Tensor:
    """The box and a halo around it, mirrored (without repeating the face) where it leaves the volume."""
    for axis, part in enumerate(box):
        n = image.shape[axis]
        at = torch.arange(part.start - halo, part.stop + halo)
        if part.start - halo < 0 or part.stop + halo > n:
            period = max(2 * (n - 1), 1)
            at = at.remainder(period)
            at = torch.where(at < n, at, period - at)
            image = image.index_select(axis, at)
        else:
            image = image.narrow(axis, part.start - halo, len(at))
    return image.clone(memory_format=torch.contiguous_format)


def _boxes(
    shape: tuple[int, ...], block: tuple[int, int, int], wanted: torch.Tensor | None
) -> Iterator[tuple[slice, ...]]:
    """Boxes that cover the volume, each shrunk to the wanted voxels in it."""
    for start in product(*(range(0, n, b) for n, b in zip(shape, block, strict=True))):
        stop = [min(a + b, n) for a, b, n in zip(start, block, shape, strict=True)]
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        if wanted is not None:
            found = wanted[box].nonzero()
            if not len(found):
                continue
            low, high = found.amin(0).tolist(), found.amax(0).tolist()
            box = tuple(slice(a + m, a + n + 1) for a, m, n in zip(start, low, high, strict=True))
        yield box


def _default_block(device: str) -> tuple[int, int, int]:
    """What keeps a thread's share of the buffers in its second-level cache; on a GPU, what keeps it busy."""
    return (32, 32, 192) if torch.device(device).type == "cpu" else (128, 128, 128)


class NLM3D(Tuned):
    """Non-local means whose strength follows the image's own noise: h = beta sigma.

    beta : strength, above 0; None (default): tuned on validation, per noise level.
    search_radius, patch_radius : of the search window and of the patches, voxels (see `nlm3d`).
    rician : average squares and subtract the noise's share (magnitude images).
    varying : let sigma vary smoothly over the volume (parallel imaging) rather than be one number.
    Other settings: see `Tuned`. Raises ConfigError for values that mean nothing.
    """

    title: ClassVar[str] = "Non-local means"
    sentence: ClassVar[str] = (
        "Three-dimensional non-local means with Rician correction compared patches of radius "
        "{settings[patch_radius]} in windows of radius {settings[search_radius]} voxels; its strength relative "
        "to the estimated noise was the one with the highest PSNR on validation scans."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Buades A, Coll B, Morel JM. A review of image denoising algorithms, with a new one. "
        "Multiscale Model Simul 2005;4:490-530.",
        "Coupe P, Yger P, Prima S, et al. An optimized blockwise nonlocal means denoising filter for 3-D "
        "magnetic resonance images. IEEE Trans Med Imaging 2008;27:425-441.",
        "Wiest-Daessle N, Prima S, Coupe P, et al. Rician noise removal by non-local means filtering for low "
        "signal-to-noise ratio MRI. MICCAI 2008;LNCS 5242:171-179.",
    )
    number: ClassVar[str] = "beta"
    bounds: ClassVar[tuple[float, float]] = (0.4, 3.0)

    def __init__(
        self,
        beta: float | None = None,
        search_radius: int = 5,
        patch_radius: int = 1,
        rician: bool = True,
        varying: bool = True,
        target: str = "reference",
        slab: int | None = 24,
        examples: int = 3,
        evaluations: int = 8,
    ) -> None:
        super().__init__(fixed=beta, target=target, slab=slab, examples=examples, evaluations=evaluations)
        check_radii(search_radius, patch_radius)
        self.search_radius, self.patch_radius = int(search_radius), int(patch_radius)
        self.rician, self.varying = rician, varying

    def restore(self, volume: Volume, sigma: float, value: float, threads: int) -> np.ndarray:
        """Restored array, (x, y, z) float32; `value` is beta. Without noise there is nothing to remove."""
        if sigma <= 0:
            return volume.data.astype(np.float32)
        noise = estimate_sigma_map(volume.data) if self.varying else sigma
        return nlm3d(
            volume.data,
            noise,
            value * noise,
            self.search_radius,
            self.patch_radius,
            self.rician,
            device=self.device,
            threads=threads,
        )

    def reach(self, volume: Volume) -> int:
        """The halo of `nlm3d`."""
        return self.search_radius


def check_radii(search_radius: int, patch_radius: int) -> None:
    """Raise ConfigError unless both are whole numbers and the patch can move within the window."""
    for name, value in (("search_radius", search_radius), ("patch_radius", patch_radius)):
        positive(name, value)
        if value != int(value):
            raise ConfigError(
                f"'{name}' must be a whole number",
                where=f"{name}: {value}",
                why="it counts voxels",
                fix="give a whole number above 0",
            )
    if patch_radius >= search_radius:
        raise ConfigError(
            "The patches do not fit into the search window",
            where=f"search_radius: {search_radius}, patch_radius: {patch_radius}",
            why="a patch is compared with those inside the window, so it must be the smaller",
            fix="make search_radius larger than patch_radius, for example 5 and 1",
        )
