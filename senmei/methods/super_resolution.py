"""What the networks for planar images share: settings, training on pairs, restoring whole images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from senmei.core.errors import ConfigError, DataError
from senmei.core.example import Example
from senmei.core.method import FitContext
from senmei.core.seeds import derive_seed, short_hash
from senmei.methods.planar import PlanarMethod, Sheet, choose, judged_range, truth
from senmei.methods.planar_families import of_families
from senmei.methods.planar_judge import PlanarPSNR
from senmei.methods.planar_range import outside, seen
from senmei.methods.planar_tiles import restore_tiled
from senmei.methods.restoration_network import seeded
from senmei.methods.richardson_lucy import deconvolved
from senmei.methods.tuned import positive, whole
from senmei.methods.upsampling import upsample
from senmei.training.loop import Player, Schedule, mixed_precision, precision_used
from senmei.training.loop import train as train_loop
from senmei.training.planar_losses import WINDOW, find_planar_loss
from senmei.training.planar_patches import PlanarSampling, PlanarScan, PlanarSource

TOLD = 3  # what networks may be told beside the image: noise level, blur, scatter
_FACTOR, _SEEN = (
    "factor",
    "seen",
)  # the names under which the factor and the range of scans are kept with the weights
BASES = ("bicubic", "deconvolved", "none")
_ITERATIONS = 3  # of Richardson-Lucy: about the best there is at a hundred to some thousand counts a pixel


class SuperResolutionNetwork(PlanarMethod):
    """Base of the learned methods: `low` in, the reference out, patches against patches of the same places.

    Images are in units of the scale of `low` (`bright_counts`), found in the image that goes in; the reference only
    decides what is learned, never what is done. The loss is that of images in units of the scan's data range. Networks
    work at any size of image; one serves one factor, that of its training scans, which is kept with the weights.

    steps, batch, patch : training steps, patches a step, their edge in camera pixels (at most the image's).
    learning_rate : peak of the schedule. loss : `mse`, or `mse_ssim`: MSE + (1 - SSIM), which has no reason to keep
    counts (7 % were lost on toys, before `keep_counts`). rotations : learn on all four quarter turns. informed : tell
    the network, as further channels, the noise level 1 / sqrt(scale), the blur (FWHM in camera pixels) and the scatter
    fraction, so that one serves all doses and cameras. base : what the network adds to, from zero on: `bicubic`;
    `deconvolved`: three iterations of Richardson-Lucy through the camera, then also seen by the network, which has to
    learn only what the camera's model cannot tell; `none`. fresh_noise : draw new counts of the noise-free `expected`
    in every step, where scans were simulated; otherwise the counts of `low` are all there is. flips : average over the
    eight turned and mirrored images when applied. precision : auto, float32 or bf16. families, sources : learn from
    scans of these teachers alone, and of so many sources, see `of_families`. Others: see `PlanarMethod`.
    Raises ConfigError for values that mean nothing.
    """

    family: ClassVar[str] = "learned"
    together: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("low", "reference", "camera")
    tunes_on: ClassVar[tuple[str, ...]] = ("low", "reference", "camera")
    settings: ClassVar[tuple[str, ...]] = (
        "target", "steps", "batch", "patch", "learning_rate", "loss", "rotations", "informed", "base",
        "fresh_noise", "precision", "families", "sources",
    )  # fmt: skip

    def __init__(
        self, *, steps: int, batch: int, patch: int, learning_rate: float, loss: str, rotations: bool,
        informed: bool, base: str, fresh_noise: bool, flips: bool, precision: str, keep_counts: str, target: str,
        families: Sequence[str] | None = None, sources: int | None = None, **sizes: int,
    ) -> None:  # fmt: skip
        super().__init__(keep_counts=keep_counts, target=target)
        for name, value in {"steps": steps, "batch": batch, "patch": patch, **sizes}.items():
            whole(name, value)
        if sources is not None:
            whole("sources", sources)
        positive("learning_rate", learning_rate)
        find_planar_loss(loss)
        choose("base", base, BASES)
        mixed_precision(precision, "cpu")
        self.steps, self.batch, self.patch = int(steps), int(batch), int(patch)
        self.learning_rate, self.loss, self.precision = float(learning_rate), loss, precision
        self.rotations, self.informed, self.base = bool(rotations), bool(informed), base
        self.fresh_noise, self.flips = bool(fresh_noise), bool(flips)
        self.families, self.sources = None if families is None else tuple(families), sources
        self._network: nn.Module | None = None
        self._factor, self._device, self._seen = 0, "cpu", np.zeros((0, 4))

    def network(self, factor: int) -> nn.Module:
        """A fresh network: image (n, 1, x, y), words (n, k, 1, 1), base -> (n, 1, x factor, y factor), the same unit.

        base : (n, 1, x factor, y factor), what is added to the output, or None.
        """
        raise NotImplementedError(type(self).__name__)

    @property
    def words(self) -> int:
        """How many numbers the network is told."""
        return TOLD if self.informed else 0

    @property
    def sees_base(self) -> bool:
        """Whether the base is among what the network looks at."""
        return self.base == "deconvolved"

    def base_of(self, sheet: Sheet, counts: np.ndarray) -> np.ndarray:
        """(x factor, y factor) counts per restored pixel that the network adds to, of counts like the sheet's."""
        if self.base == "bicubic":
            return upsample(counts, sheet.factor, "bicubic")
        return deconvolved(replace(sheet, counts=counts), _ITERATIONS)

    def arithmetic(self, device: str) -> str:
        """As `precision` says."""
        return precision_used(self.precision, device)

    def fit(
        self, train: Sequence[Example], validation: Sequence[Example], context: FitContext
    ) -> Mapping[str, np.ndarray]:
        """Train on the pairs of `train`; the step that is kept has the highest PSNR on `validation`."""
        train = of_families(self.title, train, self.families, self.sources, "training")
        validation = of_families(self.title, validation, self.families, None, "validation")
        source = self.source(train, context)
        judge = PlanarPSNR(self, validation, source, context)
        schedule = Schedule(self.steps, self.learning_rate, validations=5)
        loss_of = find_planar_loss(self.loss)
        fresh = seeded(lambda: self.network(source.factor), derive_seed(context.seed, "weights"))
        player = Player(fresh.to(context.device), schedule)

        def update(t: int) -> dict[str, float]:
            data = source.batch(t, context.device, context.team)
            with mixed_precision(self.precision, context.device):
                restored = player.network(data.low, data.told, data.base)
            loss = loss_of(restored.float() * data.unit, data.target * data.unit)
            player.descend(loss)
            return {"loss": float(loss.detach())}

        identity = [("class", type(self).__name__), *((k, getattr(self, k)) for k in self.settings)]
        key = short_hash(identity, source.sampling, source.fingerprint(), context.seed, torch.__version__)
        kept = train_loop({"network": player}, update, judge, schedule, context, key)
        judge.statistics(kept)
        weights = {k: v.detach().cpu().numpy().copy() for k, v in kept.state_dict().items()}
        return {
            **weights,
            _FACTOR: np.array([source.factor], np.float32),
            _SEEN: seen(map(self.sheet, train)),
        }

    def source(self, examples: Sequence[Example], context: FitContext) -> PlanarSource:
        """The training scans that have counts. Raises DataError where they cannot be learned from together."""
        scans = [s for s in map(self.scan, examples) if s is not None]
        if not scans:
            raise DataError(
                f"Cannot train {self.title}",
                where="training scans",
                why="there are none with counts",
                fix="give the training cohort a subject in the training split",
            )
        factors = sorted({scan.factor for scan in scans})
        if len(factors) > 1:
            raise DataError(
                f"Cannot train {self.title}",
                where="training scans",
                why=f"their factors are {', '.join(map(str, factors))}, and one network serves one factor",
                fix="train on scans of one pixel size, or make a study of each",
            )
        patch = min(self.patch, *(min(scan.low.shape) for scan in scans))
        if self.loss == "mse_ssim" and patch * factors[0] < WINDOW:
            raise ConfigError(
                "The training patch is too small",
                where=f"patch: {self.patch}",
                why=f"of {patch * factors[0]} restored pixels; SSIM looks at {WINDOW}",
                fix=f"give a patch of {-(-WINDOW // factors[0])} or more",
            )
        work = f"{self.steps} steps of {self.batch} x {patch}^2 pixels, factor {factors[0]}"
        context.log(f"{self.title}: {len(scans)} scans, {work}")
        sampling = PlanarSampling(patch, self.batch, self.rotations)
        return PlanarSource(scans, sampling, derive_seed(context.seed, "patches"))

    def scan(self, example: Example) -> PlanarScan | None:
        """What is learned from a scan; None where nothing was counted."""
        sheet = self.sheet(example)
        if not sheet.scale > 0:
            return None
        target = truth(example, self.target, sheet)
        expected = None
        if self.fresh_noise:
            expected = np.asarray(example["expected"].data, np.float32)
            expected = np.maximum(expected.reshape(sheet.counts.shape), 0)
        span = judged_range(example, target)
        base = None if self.base == "none" else partial(self.base_of, sheet)
        words = self.told(sheet)
        return PlanarScan(sheet.counts, target, sheet.factor, sheet.scale, span, words, expected, base)

    def told(self, sheet: Sheet) -> tuple[float, ...]:
        """Noise level, blur and scatter of an image, each about 1 at most; () where the network is told nothing."""
        if not self.informed:
            return ()
        response = sheet.response
        return 10 * sheet.scale**-0.5, response.fwhm_mm / sheet.pixel_mm / 2, response.scatter_fraction

    def load(self, weights: Mapping[str, np.ndarray], device: str = "cpu") -> None:
        """Take weights. Raises DataError if they are of another network."""
        try:
            factor = int(weights[_FACTOR][0])
            network = self.network(factor)
            network.load_state_dict(
                {k: torch.from_numpy(np.array(v)) for k, v in weights.items() if k not in (_FACTOR, _SEEN)}
            )
        except (RuntimeError, KeyError, IndexError, ValueError) as error:
            raise DataError(
                f"The weights do not fit {self.title}",
                where="weights",
                why=str(error).splitlines()[-1].strip(),
                fix="use the settings the weights were trained with, or train again",
            ) from error
        self._factor, self._device = factor, device
        self._seen = np.asarray(weights.get(_SEEN, ()), float).reshape(-1, 4)
        self._network = network.to(device).eval().requires_grad_(False)

    def restore(self, sheet: Sheet) -> np.ndarray:
        """(x, y) counts per restored pixel. Raises DataError for a factor that was not trained for."""
        self.refuse_unfit(sheet, self._factor if self._network is not None else None)
        assert self._network is not None
        return self.restored(self._network, sheet, self._device)

    def remark(self, example: Example) -> str:
        """In what the scan is unlike those of training."""
        return outside(self.sheet(example), self._seen, self.title)

    def restored(self, network: nn.Module, sheet: Sheet, device: str) -> np.ndarray:
        """The image in counts per restored pixel, large ones by tiles; with `flips` the mean of its eight turns."""
        words = torch.tensor(self.told(sheet), dtype=torch.float32, device=device).reshape(1, -1, 1, 1)
        images = [sheet.counts / np.float32(sheet.scale)]
        if self.base != "none":
            images.append(self.base_of(sheet, sheet.counts) * np.float32(sheet.factor**2 / sheet.scale))
        total = np.zeros(sheet.shape, np.float32)
        turns = [(k, mirror) for k in range(4) for mirror in (False, True)] if self.flips else [(0, False)]
        for k, mirror in turns:
            turned = (np.ascontiguousarray(np.rot90(a[::-1] if mirror else a, k)) for a in images)
            x, *base = (torch.from_numpy(a)[None, None].to(device) for a in turned)
            with torch.inference_mode(), mixed_precision(self.precision, device):
                made = restore_tiled(network, x, words, base[0] if base else None, sheet.factor)
            y = made.float().cpu().numpy()[0, 0]
            back = np.rot90(y, -k)
            total += back[::-1] if mirror else back
        return total * np.float32(sheet.scale / (len(turns) * sheet.factor**2))
