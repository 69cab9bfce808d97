"""Complex k-space -> image: HDF5 roles, a baseline that is not the identity, weights without fitting data."""

import numpy as np

from senmei.core.measure import measure
from senmei.core.method import Method
from senmei.core.seeds import draw_generator
from senmei.core.study import Study
from senmei.core.volume import Volume


class HalfFourier(Study):
    title = "Toy: k-space to image"
    groups = {"signal": ("kspace",), "truth": ("reference",)}
    conditions = ()
    primary = ("error",)

    def simulate(self, images, cohort, seed):
        data = draw_generator(seed).random((16, 16, 4), dtype=np.float32)
        return {row["image"]: {"image": Volume(data, np.eye(4))} for row in images}

    def prepare(self, group, scan, raw, cohort, settings, seed):
        image = raw(scan["image"], "image")
        if group == "truth":
            return {"reference": image}, {}
        full = np.fft.fftn(image.data, norm="ortho").astype(np.complex64)
        return {"kspace": full * (np.arange(16) <= 8)[:, None, None]}, {}


class ZeroFilled(Method):
    title = "Zero-filled"
    family = "none"
    inputs = ("kspace",)

    def apply(self, example):
        return Volume(np.abs(np.fft.ifftn(example["kspace"], norm="ortho")).astype(np.float32), np.eye(4))


class Hermitian(ZeroFilled):
    title = "Hermitian symmetry"
    family = "classical"

    def apply(self, example):
        half = example["kspace"]
        mirror = np.roll(np.flip(half, (0, 1, 2)), 1, (0, 1, 2)).conj()
        full = np.where(half == 0, mirror, half)
        return Volume(np.fft.ifftn(full, norm="ortho").real.astype(np.float32), np.eye(4))


@measure(requires=("reference",), better="lower", unit="1", title="Mean absolute error")
def error(example, restored):
    """Mean |restored - reference|."""
    return float(np.abs(restored.data - example["reference"].data).mean())


CONFIG = {
    "use": "tests.contract.kspace:HalfFourier",
    "cohorts": {"toys": {"use": "test", "source": "simulate", "subjects": 2}},
    "methods": {
        "input": {"use": "tests.contract.kspace:ZeroFilled"},
        "hermitian": {"use": "tests.contract.kspace:Hermitian"},
    },
    "measures": {"error": {"use": "tests.contract.kspace:error"}},
}
