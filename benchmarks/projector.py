"""The SPECT projector and OSEM: ours against PyTomography's, same object, geometry, physics and threads, in one run.

    python -m venv peers && peers/bin/pip install torch==2.13.0 pytomography==3.4.0
    peers/bin/python benchmarks/projector.py [--threads 2] [--device cuda] [--runs 3]

PyTomography is no dependency of Senmei, hence an environment of its own. Forward projection and one OSEM iteration of
6 subsets at 128 x 128 x 64, 60 views, attenuation and collimator response; each side warmed up, then both in turn,
medians. Sensitivities are known to both before the clock starts; what each needs before a first image is told apart.
Then, ours alone: the response's FWHM along each axis, the adjoint's error, and the study's size on one thread. Writes
benchmarks/results/projector.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from senmei.physics.gamma_camera import GammaCamera  # noqa: E402
from senmei.physics.spect.geometry import Acquisition, orbit  # noqa: E402
from senmei.physics.spect.projector import Projector  # noqa: E402
from senmei.physics.spect.reconstruct import field, osem  # noqa: E402

SHAPE, VOXEL, VIEWS, SUBSETS = (128, 128, 64), 3.2, 60, 6
FWHM = 2 * np.sqrt(2 * np.log(2))


def main() -> None:
    """Time both sides in turn and write the result."""
    options = _options()
    try:
        peer_version = version("pytomography")
    except PackageNotFoundError:
        raise SystemExit(
            "pytomography is not importable here, so there is nothing to compare with.\n"
            "Make an environment for it (see the head of this file) and run this script with its Python."
        ) from None
    torch.set_num_threads(options.threads)
    acquisition = orbit(SHAPE, VOXEL, VIEWS, arc_deg=180, start_deg=-45, radius_mm=250)
    image, mu = _torso(SHAPE, VOXEL)
    sides = {"pytomography": Peer(acquisition, mu, options.device), "senmei": Ours(acquisition, mu, options)}
    for side in sides.values():
        side.first(image)
    timed: dict[str, dict[str, list]] = {}
    load = []
    for run in range(options.runs):
        load.append(round(os.getloadavg()[0], 2))
        for task in ("forward", "osem_iteration"):
            for name, side in sides.items():
                kept = timed.setdefault(task, {}).setdefault(name, [])
                kept.append(_seconds(lambda side=side, task=task: getattr(side, task)(), options.device))
                print(f"run {run + 1}: {task} {name} {kept[-1]['seconds']:.3f} s", flush=True)
    tasks = {task: _compare(sides_of) for task, sides_of in timed.items()}
    theirs, ours = (side.images(options.iterations) for side in sides.values())
    inside = mu > 0
    result = {
        "what": "Senmei's SPECT projector and OSEM against PyTomography's",
        "machine": {
            "cpu": _cpu(),
            "threads": options.threads,
            "device": _device(options.device),
            "load": load,
        },
        "versions": {
            "pytomography": peer_version,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "problem": {
            "shape": list(SHAPE),
            "voxel_mm": VOXEL,
            "views": VIEWS,
            "arc_deg": 180,
            "radius_mm": 250,
            "collimator": acquisition.camera.collimator,
            "attenuation": True,
            "psf": True,
            "subsets": SUBSETS,
            "note": "PyTomography pads the grid by sqrt(2) to keep the square's corners; ours keeps the inscribed "
            "cylinder. The object lies inside it.",
        },
        **tasks,
        "before_the_first_image": {name: side.setup for name, side in sides.items()},
        "agreement": {
            "projections_nrmse": _nrmse(ours["projections"], theirs["projections"]),
            f"osem_{options.iterations}x{SUBSETS}_nrmse": _nrmse(ours["image"], theirs["image"]),
            f"osem_{options.iterations}x{SUBSETS}_nrmse_in_the_body": _nrmse(
                ours["image"][inside], theirs["image"][inside]
            ),
            "note": "root mean square difference over root mean square of PyTomography's; both start from ones in the "
            "inscribed cylinder. Images differ because PyTomography turns back by interpolation, ours by the "
            "rotation's transpose.",
        },
        "adjoint_error": _adjoint_error(options.device),
        "psf_fwhm": _psf(options.device),
        "one_thread_64": _small(options.device),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({task: tasks[task]["ratio"] for task in tasks} | result["agreement"], indent=2))
    print(f"written to {options.out}")


class Ours:
    """Our projector and reconstruction behind the peer's three calls."""

    def __init__(self, acquisition: Acquisition, mu: np.ndarray, options: argparse.Namespace):
        self.acquisition, self.mu, self.device = acquisition, mu, options.device

    def first(self, image: np.ndarray) -> None:
        """Build everything, project once, and know the sensitivities."""
        start = time.perf_counter()
        self.projector = Projector(self.acquisition, self.mu, device=self.device)
        self.image = torch.as_tensor(image, device=self.device)
        self.views = self.projector.forward(self.image)
        for k in range(SUBSETS):
            self.projector.sensitivity(range(k, VIEWS, SUBSETS))
        _wait(self.device)
        self.setup = round(time.perf_counter() - start, 3)

    def forward(self) -> None:
        self.projector.forward(self.image)

    def osem_iteration(self) -> None:
        osem(self.views, self.projector, iterations=1, subsets=SUBSETS)

    def images(self, iterations: int) -> dict[str, np.ndarray]:
        image = osem(self.views, self.projector, iterations=iterations, subsets=SUBSETS)
        return {"projections": self.views.cpu().numpy(), "image": image.cpu().numpy()}


class Peer:
    """PyTomography: their angle runs the other way round from the other side, u too; views are (view, u, v)."""

    def __init__(self, acquisition: Acquisition, mu: np.ndarray, device: str):
        import pytomography

        pytomography.set_device(torch.device(device))
        self.acquisition, self.mu, self.device = acquisition, mu, device

    def first(self, image: np.ndarray) -> None:
        """Build everything, project once, and know the sensitivities."""
        from pytomography.algorithms import OSEM
        from pytomography.likelihoods import PoissonLogLikelihood
        from pytomography.metadata.SPECT import SPECTObjectMeta, SPECTProjMeta, SPECTPSFMeta
        from pytomography.projectors.SPECT import SPECTSystemMatrix
        from pytomography.transforms.SPECT import SPECTAttenuationTransform, SPECTPSFTransform

        start = time.perf_counter()
        a = self.acquisition
        edge = a.voxel_mm / 10

        def sigma_cm(distance_cm):
            return a.camera.resolution_fwhm_mm(10 * np.asarray(distance_cm)) / 10 / FWHM

        mu = torch.as_tensor(self.mu, device=self.device)
        self.matrix = SPECTSystemMatrix(
            [SPECTAttenuationTransform(mu), SPECTPSFTransform(SPECTPSFMeta((), sigma_cm))],
            [],
            SPECTObjectMeta([edge] * 3, list(a.shape)),
            SPECTProjMeta(
                [a.shape[0], a.shape[2]],
                [edge] * 2,
                [180 - angle for angle in a.angles_deg],
                [r / 10 for r in a.radius_mm],
            ),
        )
        self.image = torch.as_tensor(image, device=self.device)
        self.views = self.matrix.forward(self.image)
        self.likelihood = PoissonLogLikelihood(self.matrix, self.views)
        self.likelihood._set_n_subsets(SUBSETS)
        begin = torch.from_numpy(field(a.shape)).to(self.image)[:, :, None].expand(a.shape)
        self.algorithm = lambda: OSEM(self.likelihood, object_initial=begin.clone())
        _wait(self.device)
        self.setup = round(time.perf_counter() - start, 3)

    def forward(self) -> None:
        self.matrix.forward(self.image)

    def osem_iteration(self) -> None:
        self.algorithm()(n_iters=1, n_subsets=SUBSETS)

    def images(self, iterations: int) -> dict[str, np.ndarray]:
        image = self.algorithm()(n_iters=iterations, n_subsets=SUBSETS)
        return {
            "projections": self.views.permute(1, 2, 0).flip(0).cpu().numpy(),
            "image": image.cpu().numpy(),
        }


def _torso(shape: tuple[int, int, int], voxel: float) -> tuple[np.ndarray, np.ndarray]:
    """Activity and attenuation (1/cm) float32 of an elliptic chest with lungs, liver and a hollow heart."""
    x, y, z = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * voxel for n in shape), indexing="ij")
    body = (x / 170) ** 2 + (y / 115) ** 2 < 1
    lungs = ((np.abs(x) - 80) / 55) ** 2 + (y / 80) ** 2 + ((z - 40) / 110) ** 2 < 1
    heart = ((x + 45) / 42) ** 2 + ((y - 35) / 42) ** 2 + (z / 50) ** 2
    liver = ((x - 60) / 80) ** 2 + (y / 80) ** 2 + ((z + 80) / 45) ** 2 < 1
    activity = np.where(body, 0.05, 0.0)
    activity[lungs] = 0.03
    activity[liver & body] = 0.6
    activity[heart < 1] = np.where(heart < 0.55, 0.08, 1.0)[heart < 1]
    mu = np.where(body, 0.15, 0.0)
    mu[lungs & (heart >= 1)] = 0.05
    return activity.astype(np.float32), mu.astype(np.float32)


def _seconds(call, device: str) -> dict[str, float]:
    """Wall clock and processor seconds of a call; the second tells what the first owes to other work here."""
    _wait(device)
    start, cpu_start = time.perf_counter(), time.process_time()
    call()
    _wait(device)
    return {
        "seconds": round(time.perf_counter() - start, 4),
        "cpu_seconds": round(time.process_time() - cpu_start, 4),
    }


def _compare(runs: dict[str, list[dict[str, float]]]) -> dict:
    rows = {
        name: {
            "seconds": float(np.median([r["seconds"] for r in kept])),
            "cpu_seconds": float(np.median([r["cpu_seconds"] for r in kept])),
            "runs": [r["seconds"] for r in kept],
        }
        for name, kept in runs.items()
    }
    theirs, ours = rows["pytomography"], rows["senmei"]
    return {
        **rows,
        "ratio": round(theirs["seconds"] / ours["seconds"], 1),
        "ratio_of_cpu_seconds": round(theirs["cpu_seconds"] / max(ours["cpu_seconds"], 1e-4), 1),
        "ratio_of_each_run": [round(a / b, 1) for a, b in zip(theirs["runs"], ours["runs"], strict=True)],
    }


def _nrmse(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(f"{np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2)):.3g}")


def _adjoint_error(device: str) -> dict[str, float]:
    """|<Ax, y> - <x, A'y>| / <Ax, y>, operators in float32, products summed in float64, random x and y."""
    errors = {}
    for name, radius in (("circular", 250.0), ("body_contour", list(np.linspace(180, 280, VIEWS)))):
        acquisition = orbit((64, 64, 40), 6.4, VIEWS, radius_mm=radius)
        _, mu = _torso(acquisition.shape, 6.4)
        projector = Projector(acquisition, mu, device=device)
        draw = torch.Generator().manual_seed(0)
        x = torch.rand(acquisition.shape, generator=draw).to(device)
        y = torch.rand(acquisition.projection_shape, generator=draw).to(device)
        one = float((projector.forward(x).double() * y).sum())
        other = float((projector.adjoint(y).double() * x).sum())
        errors[name] = float(f"{abs(one - other) / one:.2e}")
    return errors


def _psf(device: str) -> list[dict]:
    """FWHM of points 5, 10 and 15 cm from the collimator, along u and v, in views along y and along x."""
    from scipy.optimize import curve_fit

    def bell(x, height, centre, sigma):
        return height * np.exp(-((x - centre) ** 2) / 2 / sigma**2)

    voxel, shape, rows = 2.0, (101, 101, 45), []
    camera = GammaCamera("LEHR")
    acquisition = orbit(shape, voxel, 2, arc_deg=180, start_deg=0, radius_mm=150, camera=camera)
    projector = Projector(acquisition, device=device)
    for view in (0, 1):
        for distance in (50.0, 100.0, 150.0):
            place = acquisition.detector(view)[0] * (150 - distance) / voxel + (np.array(shape) - 1) / 2
            image = torch.zeros(shape)
            image[tuple(int(round(p)) for p in place)] = 1.0
            seen = projector.forward(image)[..., view].cpu().numpy()
            expected = float(camera.resolution_fwhm_mm(distance))
            row = {"view_deg": acquisition.angles_deg[view], "distance_mm": distance, "analytic_mm": expected}
            for axis, profile in (("u", seen.sum(1)), ("v", seen.sum(0))):
                at = np.arange(len(profile), dtype=float)
                start = (0.9 * float(profile.max()), float(profile.argmax()) + 0.1, 2.0)
                width = abs(curve_fit(bell, at, profile, start)[0][2]) * FWHM * voxel
                row[f"{axis}_mm"] = round(float(width), 3)
                row[f"{axis}_error_percent"] = round(100 * (width / expected - 1), 2)
            row["analytic_mm"] = round(expected, 3)
            rows.append(row)
    return rows


def _small(device: str) -> dict[str, float]:
    """Processor seconds of the study's size on one thread: 64 x 64 x 40, 6.4 mm, 60 views."""
    torch.set_num_threads(1)
    acquisition = orbit((64, 64, 40), 6.4, VIEWS)
    image, mu = _torso(acquisition.shape, 6.4)
    start = time.process_time()
    projector = Projector(acquisition, mu, device=device)
    views = projector.forward(image)
    told = {"first_forward_with_setup": round(time.process_time() - start, 4)}
    start = time.process_time()
    osem(views, projector)
    told["first_osem_2x6_with_sensitivities"] = round(time.process_time() - start, 4)
    start = time.process_time()
    projector.with_attenuation(mu).forward(image)
    told["first_forward_of_another_patient"] = round(time.process_time() - start, 4)
    for batch in (1, 8):
        images = torch.as_tensor(image).expand(batch, *image.shape)
        counts = views.expand(batch, *views.shape)
        for name, call in (
            ("forward", lambda images=images: projector.forward(images)),
            ("osem_2x6", lambda counts=counts: osem(counts, projector)),
        ):
            runs = [_seconds(call, device)["cpu_seconds"] for _ in range(5)]
            told[f"{name}_batch_{batch}"] = round(float(np.median(runs)), 4)
    return told


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=2, help="of the images compared")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "projector.json")
    return parser.parse_args()


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def _device(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


if __name__ == "__main__":
    main()
