"""A 3D U-Net trained against a patch discriminator, after a start on content alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from senmei.core.errors import ConfigError
from senmei.core.method import FitContext
from senmei.core.seeds import derive_seed
from senmei.methods.restoration_network import Validation, channels_last, seeded
from senmei.methods.unet3d import UNet3D
from senmei.training.loop import Player, Schedule, mixed_precision, train
from senmei.training.losses import adversarial_loss, discriminator_loss, find_loss
from senmei.training.patches import PatchSource


class PatchDiscriminator(nn.Module):
    """Real or restored, judged patch by patch: strided convolutions with leaky units, one score a place.

    Sees the image, its difference from the noisy one in units of the noise level, and the level itself.
    [Isola 2017, CVPR, in 3D; without normalisation]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(3, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv3d(channels, 2 * channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv3d(2 * channels, 2 * channels, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv3d(2 * channels, 1, 3, padding=1),
        )
        channels_last(self)

    def forward(self, image: torch.Tensor, noisy: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """image, noisy, level : (n, 1, x, y, z). Returns scores (n, 1, x/4, y/4, z/4), float32."""
        seen = torch.cat([image, (noisy - image) / level.clamp(min=1e-3), level], 1)
        return self.layers(seen.contiguous(memory_format=torch.channels_last_3d)).float()


class GAN3D(UNet3D):
    """The U-Net as generator of a GAN: content + `adversarial` * adversarial loss (least squares).

    The first `warmup` (share) of the steps see content only. discriminator : channels of its first layer.
    Other settings: see `UNet3D` and `RestorationNetwork`. Only the generator is kept.
    Raises ConfigError for values that mean nothing.
    """

    title: ClassVar[str] = "3D GAN"
    sentence: ClassVar[str] = (
        "The same U-Net served as generator of a least-squares GAN: after a start on content alone it was trained "
        "against a patch discriminator, the adversarial term weighted {settings[adversarial]}."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Isola P, Zhu JY, Zhou T, Efros AA. Image-to-image translation with conditional adversarial networks. "
        "CVPR 2017:1125-1134.",
        "Ran M, Hu J, Chen Y, et al. Denoising of 3D magnetic resonance images using a residual encoder-decoder "
        "Wasserstein generative adversarial network. Med Image Anal 2019;55:165-180.",
    )

    def __init__(
        self,
        channels: int = 16,
        depth: int = 3,
        steps: int = 400,
        batch: int = 2,
        patch: int = 32,
        learning_rate: float = 2e-3,
        loss: str = "charbonnier",
        noise: Sequence[float] = (0.005, 0.16),
        uneven: float = 0.3,
        looks: bool = True,
        varying: bool = True,
        precision: str = "auto",
        tile: int = 208,
        flips: bool = False,
        adversarial: float = 1e-3,
        warmup: float = 0.6,
        discriminator: int = 16,
    ) -> None:
        super().__init__(
            channels, depth, steps, batch, patch, learning_rate, loss, noise, uneven, looks, varying, precision,
            tile, flips,
        )  # fmt: skip
        if not (adversarial >= 0 and 0 <= warmup <= 1 and discriminator >= 1):
            raise ConfigError(
                "Unusable settings of the adversary",
                where=f"adversarial: {adversarial}, warmup: {warmup}, discriminator: {discriminator}",
                why="the weight must not be negative, the start a share from 0 to 1, the channels at least 1",
                fix="give for example adversarial: 0.001, warmup: 0.6, discriminator: 16",
            )
        self.adversarial, self.warmup, self.discriminator = (
            float(adversarial),
            float(warmup),
            int(discriminator),
        )

    def identity(self) -> dict[str, Any]:
        """Everything that changes the weights."""
        own = {k: getattr(self, k) for k in ("adversarial", "warmup", "discriminator")}
        return {**super().identity(), **own}

    def run_training(self, source: PatchSource, validate: Validation, context: FitContext) -> nn.Module:
        """Content alone, then both players in turn. The last averaged generator is kept: PSNR would choose none."""
        schedule = Schedule(self.steps, self.learning_rate)
        content_of = find_loss(self.loss)
        generator = Player(self.fresh(context), schedule)
        seed = derive_seed(context.seed, "discriminator")
        judge = seeded(lambda: PatchDiscriminator(self.discriminator), seed).to(context.device)
        adversary = Player(judge, schedule, rate=0.5)
        alone = round(self.warmup * self.steps)

        def update(t: int) -> dict[str, float]:
            data = source.batch(t, context.device, context.team)
            with mixed_precision(self.precision, context.device):
                restored = generator.network(data.noisy, data.level).float()
            content = content_of(restored, data.clean)
            losses = {"content": float(content.detach()), "adversarial": 0.0, "discriminator": 0.0}
            total = content
            if t >= alone:
                with mixed_precision(self.precision, context.device):
                    real = judge(data.clean, data.noisy, data.level)
                    fake = judge(restored.detach(), data.noisy, data.level)
                loss = discriminator_loss(real, fake)
                adversary.descend(loss)
                judge.requires_grad_(False)
                with mixed_precision(self.precision, context.device):
                    term = adversarial_loss(judge(restored, data.noisy, data.level))
                judge.requires_grad_(True)
                total = content + self.adversarial * term
                losses.update(adversarial=float(term.detach()), discriminator=float(loss.detach()))
            generator.descend(total)
            return {"loss": float(total.detach()), **losses}

        players = {"generator": generator, "discriminator": adversary}
        return train(players, update, validate, schedule, context, self.key(source, context), keep_last=True)
