"""Gaussian smoothing at its best width, known only where the truth is."""

from __future__ import annotations

from typing import ClassVar

from senmei.methods.gaussian_counts import GaussianCounts


class GaussianOracle(GaussianCounts):
    """`GaussianCounts`, tuned on the noise-free reconstruction inside `myocardium`: no clinic can do this.

    Its use is as a bound: no Gaussian of one width per dose does better on average. Settings as there.
    """

    title: ClassVar[str] = "Gaussian (tuned on the truth)"
    sentence: ClassVar[str] = (
        "For comparison, Gaussian smoothing was also tuned on the truth: at the full width at half maximum with "
        "the least squared error to the noise-free reconstruction in the myocardium of validation scans."
    )
    references: ClassVar[tuple[str, ...]] = ()
    tunes_on: ClassVar[tuple[str, ...]] = ("input", "reference", "myocardium")
    oracle: ClassVar[bool] = True
