"""Large planar images by tiles: the same as the whole at once, in less memory."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from senmei.core.example import Example
from senmei.core.volume import Volume
from senmei.methods.nafnet import NAFNet
from senmei.methods.planar_tiles import _parts, restore_tiled
from senmei.methods.srcnn_planar import SRCNNPlanar
from senmei.methods.srresnet import SRResNet

CASES: dict[str, Any] = {
    "srresnet": lambda: SRResNet(channels=8, blocks=3),
    "srresnet, bicubic first": lambda: SRResNet(channels=8, blocks=3, start="bicubic"),
    "srresnet, fed": lambda: SRResNet(channels=8, blocks=2, base="deconvolved"),
    "srresnet, alone": lambda: SRResNet(channels=8, blocks=2, base="none", batch_norm=True),
    "srcnn": lambda: SRCNNPlanar(channels=8),
}


def lively(method: Any, factor: int) -> torch.nn.Module:
    """A network whose every weight matters: the last layer starts from zero otherwise."""
    torch.manual_seed(1)
    network = method.network(factor).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2)
    return network


def inputs(
    method: Any, shape: tuple[int, int], factor: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    rng = torch.Generator().manual_seed(2)
    x = torch.rand((1, 1, *shape), generator=rng)
    base = torch.rand((1, 1, shape[0] * factor, shape[1] * factor), generator=rng)
    return x, torch.rand((1, method.words, 1, 1), generator=rng), None if method.base == "none" else base


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_tiled_is_whole(name: str, factor: int) -> None:
    method = CASES[name]()
    network = lively(method, factor)
    given = inputs(method, (131, 75), factor)
    with torch.inference_mode():
        whole = network(*given)
        for at_once in (1, 60**2 * factor**2):
            tiled = restore_tiled(network, *given, factor, at_once)
            assert tiled.shape == whole.shape
            worst = float((tiled - whole).abs().max() / whole.abs().max())
            assert worst < 2e-6, f"{worst:.2g} of the image, reach {network.reach}"


@pytest.mark.parametrize("name", CASES)
def test_reach_is_what_a_network_sees_and_hardly_more(name: str) -> None:
    """A pixel that is changed changes nothing beyond `reach`, and something within three pixels of it."""
    method, factor = CASES[name](), 4
    network = lively(method, factor)
    x, words, base = inputs(method, (96, 3), factor)
    with torch.inference_mode():
        before = network(x, words, base)
        x[0, 0, 48, 1] += 10.0
        after = network(x, words, base)
    rows = np.flatnonzero((after != before).any(dim=3)[0, 0].numpy())
    seen = max(48 - rows.min() // factor, rows.max() // factor - 48)
    reach = network.reach + (1 if base is not None else 0)
    assert network.reach - 4 <= seen <= reach


def test_a_network_that_sees_all_at_once_is_not_cut() -> None:
    method = NAFNet(channels=8, blocks=1, base="bicubic")
    network = lively(method, 2)
    given = inputs(method, (40, 24), 2)
    with torch.inference_mode():
        assert torch.equal(restore_tiled(network, *given, 2, at_once=100), network(*given))


def test_a_method_takes_tiles_for_a_whole_body(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(3).poisson(20, (96, 40)).astype(np.float32)
    camera = {"factor": 4, "pixel_mm": 2.26, "fwhm_mm": 8.0}
    example = Example({"scan": "s"}, {"low": Volume(counts[..., None], np.eye(4)), "camera": camera})
    method = SRResNet(channels=8, blocks=1, flips=True)
    weights = {k: v.numpy() for k, v in lively(method, 4).state_dict().items()}
    method.load({**weights, "factor": np.array([4], np.float32)})
    whole = method.apply(example).data
    import senmei.methods.super_resolution as module

    calls: list[int] = []

    def small(*given: Any) -> torch.Tensor:
        calls.append(1)
        return restore_tiled(*given, at_once=64**2)

    monkeypatch.setattr(module, "restore_tiled", small)
    np.testing.assert_allclose(method.apply(example).data, whole, atol=2e-6 * whole.max())
    assert len(calls) == 8, "each of the eight turns"


def test_parts_cover_an_axis_once() -> None:
    for n, edge in ((1024, 256), (7, 3), (5, 9), (131, 60)):
        parts = list(_parts(n, edge))
        assert parts[0][0] == 0 and parts[-1][1] == n
        assert all(a[1] == b[0] for a, b in pairwise(parts))
        assert max(b - a for a, b in parts) <= edge
