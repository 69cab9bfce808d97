"""A rotating SPECT projector with attenuation and distance-dependent collimator blur, and its exact adjoint.

For each view the image is turned so that planes of voxels stand parallel to the detector, each plane is attenuated by
what lies between it and the detector, blurred by the collimator's resolution at its distance, and the planes are
summed (Zeng & Gullberg, IEEE TNS 1992;39:1660). Every step is a matrix; the adjoint applies the same ones transposed:

- rotation: bilinear, in the (x, y) plane, a sparse matrix applied to all slices and all batch entries at once;
- attenuation: exp(-∫mu) from the voxel's centre, i.e. half of its own mu, to the detector, per view and voxel;
- blur: a Gaussian for each plane, made of a few shared ones (see `collimator_blur`).

Values are counts: without attenuation a view holds the sum of the image, apart from what the field's edges cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from senmei.core.errors import DataError
from senmei.physics.spect.collimator_blur import CollimatorBlur
from senmei.physics.spect.geometry import Acquisition

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

KEPT_BYTES = 2**29  # attenuation factors above this are computed at each use instead of kept


class Gather:
    """A sparse matrix (rows, columns) for `embedding_bag`: y[r] = Σ w x[c], for tables of many columns."""

    def __init__(self, matrix: sparse.csr_array, device: torch.device):
        self.index = torch.from_numpy(matrix.indices.astype(np.int32)).to(device)
        self.offsets = torch.from_numpy(matrix.indptr.astype(np.int32)).to(device)
        self.weights = torch.from_numpy(matrix.data.astype(np.float32)).to(device)

    def __call__(self, table: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.embedding_bag(
            self.index,
            table,
            self.offsets,
            mode="sum",
            per_sample_weights=self.weights,
            include_last_offset=True,
        )


def tensor(values: ArrayLike | torch.Tensor, device: str | torch.device = "cpu") -> torch.Tensor:
    """Float32 tensor on a device; arrays that may not be written to are copied."""
    if isinstance(values, torch.Tensor):
        return values.detach().to(device, torch.float32)
    array = np.asarray(values, np.float32)
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)


class Projector:
    """Expected counts of an acquisition, and the transpose.

    acquisition : the geometry. mu : linear attenuation (x, y, z) in 1/cm at the photons' energy, or None. psf : whether
    the collimator blurs. device : of torch. Everything is float32. Bilinear rotation itself blurs by up to a quarter of
    a squared voxel (variance; none at multiples of 90°), as it does in every rotating projector. Raises DataError when
    mu does not fit the grid.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        mu: ArrayLike | torch.Tensor | None = None,
        *,
        psf: bool = True,
        device: str | torch.device = "cpu",
    ):
        self.acquisition, self.psf, self.device = acquisition, psf, torch.device(device)
        # Shared by every projector made by `with_attenuation`: filled as views are used.
        self._turns: dict[int, tuple[Gather, Gather]] = {}
        self._blur = CollimatorBlur(acquisition, self.device) if psf else None
        self._set_attenuation(mu)

    @property
    def projection_shape(self) -> tuple[int, int, int]:
        """(u, v, view) of what `forward` gives."""
        return self.acquisition.projection_shape

    def with_attenuation(self, mu: ArrayLike | torch.Tensor | None) -> Projector:
        """The same acquisition around another patient: rotations and kernels are shared, not built again."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._set_attenuation(mu)
        return other

    def _set_attenuation(self, mu: ArrayLike | torch.Tensor | None) -> None:
        self._factors = torch.empty(0)
        self._filled: set[int] = set()  # views whose factors are known
        self._sensitivities: dict[tuple[int, ...], torch.Tensor] = {}
        self.mu: torch.Tensor | None = None
        if mu is None:
            return
        self.mu = tensor(mu, self.device).clone()
        if tuple(self.mu.shape) != self.acquisition.shape:
            raise unfit("the attenuation map", tuple(self.mu.shape), self.acquisition.shape)
        if not bool(torch.isfinite(self.mu).all()) or float(self.mu.min()) < 0:
            raise DataError(
                "the attenuation map has impossible values",
                where="attenuation (mu)",
                why="linear attenuation in 1/cm is finite and never negative",
                fix="check the units and the conversion from CT",
            )

    @torch.no_grad()
    def forward(self, image: ArrayLike | torch.Tensor, views: Sequence[int] | None = None) -> torch.Tensor:
        """Projections (…, u, v, view) of images (…, x, y, z), float32; `views` : indices, all by default.

        Batch entries share the work of rotation. Raises DataError when the grid is not the acquisition's.
        """
        image = tensor(image, self.device)
        if tuple(image.shape[-3:]) != self.acquisition.shape:
            raise unfit("the image", tuple(image.shape), self.acquisition.shape)
        n, _, nz = self.acquisition.shape
        tables = image.reshape(-1, n * n, nz)
        chosen = self._chosen(views)
        out = torch.empty(len(chosen), len(tables), n, nz, device=self.device)
        for i, view in enumerate(chosen):
            turn, factor = self._turn(view)[0], self._factor(view)
            for j, table in enumerate(tables):  # one at a time stays in the processor's cache
                planes = turn(table)
                if factor is not None:
                    planes *= factor
                out[i, j] = self._blur.forward(planes, view) if self._blur else planes.view(n, n, nz).sum(0)
        return out.permute(1, 2, 3, 0).reshape(*image.shape[:-3], n, nz, len(chosen))

    @torch.no_grad()
    def adjoint(
        self, projections: ArrayLike | torch.Tensor, views: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Images (…, x, y, z): the transpose of `forward`, of projections (…, u, v, view) of the same views."""
        projections = tensor(projections, self.device)
        n, _, nz = self.acquisition.shape
        chosen = self._chosen(views)
        if tuple(projections.shape[-3:]) != (n, nz, len(chosen)):
            raise unfit("the projections", tuple(projections.shape), (n, nz, len(chosen)))
        tables = projections.reshape(-1, n, nz, len(chosen)).permute(3, 0, 1, 2).contiguous()
        out = torch.zeros(tables.shape[1], n * n, nz, device=self.device)
        for i, view in enumerate(chosen):
            turn, factor = self._turn(view)[1], self._factor(view)
            for j, table in enumerate(tables[i]):
                planes = self._blur.adjoint(table, view) if self._blur else table.repeat(n, 1)
                if factor is not None:
                    planes *= factor
                out[j] += turn(planes)
        return out.reshape(*projections.shape[:-3], n, n, nz)

    @torch.no_grad()
    def planes(self, image: ArrayLike | torch.Tensor, view: int) -> torch.Tensor:
        """The image (…, x, y, z) turned to face a view: (…, depth, u, v), depth growing toward the detector."""
        image = tensor(image, self.device)
        n, _, nz = self.acquisition.shape
        turn = self._turn(view)[0]
        turned = torch.stack([turn(table) for table in image.reshape(-1, n * n, nz)])
        return turned.reshape(*image.shape[:-3], n, n, nz)

    def sensitivity(self, views: Sequence[int] | None = None) -> torch.Tensor:
        """Adjoint of ones (x, y, z): counts that one count in a voxel gives in all of these views. Kept."""
        key = tuple(self._chosen(views))
        if key not in self._sensitivities:
            ones = torch.ones(*self.projection_shape[:2], len(key), device=self.device)
            self._sensitivities[key] = self.adjoint(ones, key)
        return self._sensitivities[key]

    def _chosen(self, views: Sequence[int] | None) -> list[int]:
        return list(range(self.acquisition.views)) if views is None else [int(v) for v in views]

    def _turn(self, view: int) -> tuple[Gather, Gather]:
        if view not in self._turns:
            matrix = rotation(self.acquisition, view)
            self._turns[view] = (
                Gather(matrix, self.device),
                Gather(sparse.csr_array(matrix.T), self.device),
            )
        return self._turns[view]

    def _factor(self, view: int) -> torch.Tensor | None:
        """Attenuation factors (depth * u, v) of a view, or None."""
        if self.mu is None:
            return None
        if view in self._filled:
            return self._factors[view]
        n, _, nz = self.acquisition.shape
        planes = self._turn(view)[0](self.mu.reshape(n * n, nz)).view(n, -1)
        # the path of plane k: all planes nearer to the detector, and half of its own
        length = torch.ones(n, n, device=self.device).triu_().fill_diagonal_(0.5)
        length *= -self.acquisition.voxel_mm / 10
        if 4 * n * n * nz * self.acquisition.views > KEPT_BYTES:
            return torch.mm(length, planes).exp_().view(n * n, nz)
        if not self._filled:
            self._factors = torch.empty(self.acquisition.views, n * n, nz, device=self.device)
        torch.mm(length, planes, out=self._factors[view].view(n, -1)).exp_()
        self._filled.add(view)
        return self._factors[view]


def rotation(acquisition: Acquisition, view: int) -> sparse.csr_array:
    """Sparse matrix (depth * u, x * y) float32 that turns a slice to face a view: bilinear, zero outside the grid.

    Row (k, i): depth k grows toward the detector, i along u; the grid's centre stays in place.
    """
    n = acquisition.shape[0]
    toward, along = acquisition.detector(view)
    step = np.arange(n) - (n - 1) / 2
    depth, u = step[:, None], step[None, :]
    places = [depth * toward[a] + u * along[a] + (n - 1) / 2 for a in (0, 1)]
    # multiples of 90° are exact: their cosines are 0 only to 1e-17
    places = [np.where(np.abs(p - np.rint(p)) < 1e-9, np.rint(p), p).ravel() for p in places]
    low = [np.floor(p).astype(np.int64) for p in places]
    rows, columns, weights = [], [], []
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = low[0] + dx, low[1] + dy
            weight = (1 - np.abs(places[0] - x)) * (1 - np.abs(places[1] - y))
            keep = (x >= 0) & (x < n) & (y >= 0) & (y < n) & (weight > 1e-9)
            rows.append(np.flatnonzero(keep))
            columns.append((x * n + y)[keep])
            weights.append(weight[keep].astype(np.float32))
    entries = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array(entries, shape=(n * n, n * n))


def unfit(what: str, found: tuple[int, ...], expected: tuple[int, ...]) -> DataError:
    """The error for an array whose last dimensions are not the acquisition's."""
    return DataError(
        f"the shape of {what} is not the acquisition's",
        where=f"{what}: {found}",
        why=f"the acquisition has {expected}",
        fix="resample it to the acquisition's grid, or use the acquisition it belongs to",
    )
