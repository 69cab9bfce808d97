"""The Butterworth filter at its best cutoff, known only where the truth is."""

from __future__ import annotations

from typing import ClassVar

from senmei.methods.butterworth_counts import ButterworthCounts


class ButterworthOracle(ButterworthCounts):
    """`ButterworthCounts`, tuned on the noise-free reconstruction inside `myocardium`: no clinic can do this.

    Its use is as a bound, as that of `GaussianOracle`. Settings as there.
    """

    title: ClassVar[str] = "Butterworth (tuned on the truth)"
    sentence: ClassVar[str] = (
        "For comparison, the Butterworth filter of order {settings[order]} was also tuned on the truth: at the "
        "cutoff with the least squared error to the noise-free reconstruction in the myocardium of validation scans."
    )
    references: ClassVar[tuple[str, ...]] = ()
    tunes_on: ClassVar[tuple[str, ...]] = ("input", "reference", "myocardium")
    oracle: ClassVar[bool] = True
