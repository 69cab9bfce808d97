"""Scatter in SPECT: our Monte Carlo against quadrature and published SIMIND figures, the fast model against it.

    python benchmarks/scatter.py [--torsos 4] [--histories 2000000] [--threads 1] [--fit]

Four questions, answered in benchmarks/results/scatter.json:

`quadrature` : is single scatter of the Monte Carlo what an integral says, for a point at a sphere's centre?
`simind` : how near are scatter-to-primary ratio and orders to SIMIND's? One case is the same object (a cylinder whose
    result file states everything); for the others objects differ: plausibility, not identity.
`torsos` : how near is the effective-source model, which the simulations use, to the Monte Carlo on torsos?
`option` : what does `scatter: monte_carlo` cost and how noisy is it, smoothed?

`--fit` also draws the constants of the effective source again (`fit`), from photons of a point in water.
SIMIND counts coherent scatter as scatter and we do not have it: `with_coherent` moves what the primary would lose by
it (its share of the attenuation, assumed 2.8e-3 /cm at 140 keV, falling with the square) to the scatter, which is
right as far as it goes forward.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

VOXEL_MM, GRID = 6.4, (64, 64, 40)
SPHERES_ML = (4.1888, 8.1812, 14.1372, 22.4493, 33.5103, 65.4498)
SMALL_SPHERES_ML = (0.5236, 1.1503, 2.5724, 5.5753, 11.4940, 26.5218)


def main() -> None:
    """Run all cases and write the result."""
    options = _options()
    import torch

    torch.set_num_threads(options.threads)
    result = {
        "what": "Compton scatter in SPECT: Monte Carlo with forced detection, effective-source model, SIMIND",
        "machine": {
            "cpu": f"{_cpu()}, {os.cpu_count()} cores",
            "threads": options.threads,
            "load": round(os.getloadavg()[0], 2),
        },
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy")},
        "quadrature": _quadrature(),
        "simind": _simind(),
        **_torsos(options),
    }
    if options.fit:
        result["fit"] = _fit()
    elif options.out.exists():
        result["fit"] = json.loads(options.out.read_text()).get("fit")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("quadrature", "simind", "summary", "option")}, indent=1))
    print(f"written to {options.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torsos", type=int, default=4)
    parser.add_argument("--histories", type=int, default=2_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fit", action="store_true", help="draw the constants of the effective source again")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "scatter.json")
    return parser.parse_args()


def _places(shape, voxel_mm):
    return np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * voxel_mm for n in shape], indexing="ij")


def _quadrature() -> list[dict]:
    from senmei.physics import photons
    from senmei.physics.gamma_camera import GammaCamera
    from senmei.physics.spect.geometry import orbit
    from senmei.physics.spect.monte_carlo import monte_carlo
    from senmei.physics.spect.scatter import single_scatter

    camera, mu, rows = GammaCamera(), 0.152, []
    for radius_cm in (5.0, 8.0, 11.0):
        r, weight_r = np.polynomial.legendre.leggauss(60)
        r, weight_r = (r + 1) / 2 * radius_cm, weight_r / 2 * radius_cm
        c, weight_c = np.polynomial.legendre.leggauss(400)
        out = np.sqrt(radius_cm**2 - r[:, None] ** 2 * (1 - c**2)) - r[:, None] * c
        left = photons.compton_energy(140.5, c)
        rise = photons.attenuation(left) / photons.attenuation(140.5)
        compton = mu * photons.compton_attenuation(140.5) / photons.attenuation(140.5)
        path = np.exp(-mu * (r[:, None] + rise * out))
        meant = (weight_r[:, None] * weight_c * compton * single_scatter(c, camera) * path).sum() / 2
        side, voxel = 41, 2 * 10 * radius_cm / 35
        x, y, z = _places((side,) * 3, voxel)
        inside = np.zeros(x.shape)
        for a in (steps := ((np.arange(4) + 0.5) / 4 - 0.5) * voxel):
            for b in steps:
                for d in steps:
                    inside += ((x + a) ** 2 + (y + b) ** 2 + (z + d) ** 2 < (10 * radius_cm) ** 2) / 64
        activity = np.zeros(x.shape)
        activity[side // 2, side // 2, side // 2] = 1
        acquisition = orbit((side,) * 3, voxel, views=4, arc_deg=360.0, start_deg=0.0)
        got = monte_carlo(
            activity, mu * inside, acquisition, histories=400_000, rng=np.random.default_rng(0), orders=1
        )
        counted = float(got["scatter"].sum() / 4)
        rows.append(
            {
                "sphere_radius_cm": radius_cm,
                "single_scatter_quadrature": round(float(meant), 5),
                "monte_carlo": round(counted, 5),
                "difference_percent": round(100 * (counted / float(meant) - 1), 2),
            }
        )
    return rows


def _simind() -> list[dict]:
    from senmei.physics import photons
    from senmei.physics.gamma_camera import GammaCamera

    rows = []
    iodine = GammaCamera(energy_kev=158.97, energy_resolution=0.1015, window=0.20)
    x, y, z = _places((64, 64, 50), 4.0)
    cylinder = ((x**2 + y**2 < 108**2) & (np.abs(z) < 93)).astype(np.float32)
    water = float(photons.attenuation(158.97))
    simind = {"s_p": 0.2687, "s_t": 0.2118, "orders": [0.840, 0.138, 0.019]}
    rows.append(
        _case(
            "I-123 cylinder, hot spheres in background (V7.0.3, 143-175 keV, geometric photons, no backscatter)",
            _with_spheres(cylinder * 0.135, SPHERES_ML, 0.675, x, y, z),
            cylinder * water,
            _orbit((64, 64, 50), 4.0, 12, 150.0, iodine),
            simind,
            "the same object and window; place of the spheres (10 % of the activity) assumed; only the 159 keV line",
        )
    )
    narrow = GammaCamera(energy_kev=158.97, energy_resolution=0.1015, window=0.15)
    rows.append(
        _case(
            "I-123 cylinder, spheres only (V7.0.3, 147-171 keV, geometric photons, no backscatter)",
            _with_spheres(cylinder * 0, SMALL_SPHERES_ML, 1.0, x, y, z),
            cylinder * water,
            _orbit((64, 64, 50), 4.0, 12, 150.0, narrow),
            {"s_p": 0.339, "s_t": 0.253, "orders": [0.837, 0.141, 0.019]},
            "the same object but for the place of the spheres, assumed on a circle of 57 mm",
        )
    )
    rows.append(
        _case(
            "I-123 cylinder as the first, all of SIMIND (529 keV, penetration, back scatter)",
            _with_spheres(cylinder * 0.135, SPHERES_ML, 0.675, x, y, z),
            cylinder * water,
            _orbit((64, 64, 50), 4.0, 12, 150.0, iodine),
            {"s_p": 0.290, "s_t": 0.225, "orders": [0.841, 0.137, 0.019]},
            "the same object; SIMIND has physics that ours leaves out",
        )
    )
    cases = [_torso(seed) for seed in range(4)]
    whole = _orbit(GRID, VOXEL_MM, 32, 250.0, GammaCamera(energy_kev=140.0))
    for seed, (activity, mu) in enumerate(cases):
        rows.append(
            _case(
                f"our torso {seed}, 360 degrees, against NCAT cardiac (V6.2.1, 126-154 keV, 10 %, LEHR)",
                activity,
                mu,
                whole,
                {"s_p": 0.465, "s_t": 0.318, "orders": [0.829, 0.151, 0.019]},
                "different object and uptake, field of 256 mm along z against 512: plausibility only",
            )
        )
    x, y, z = _places((64, 64, 40), 6.4)
    water = float(photons.attenuation(140.5))
    nema = (((x / 150) ** 2 + (y / 115) ** 2 < 1) & (np.abs(z) < 90)).astype(np.float32)
    camera = GammaCamera(collimator="ME", energy_resolution=0.12)
    for filling, activity in (
        ("filled uniformly", nema * 1.0),
        ("only spheres filled", _with_spheres(nema * 0, SMALL_SPHERES_ML, 1.0, x, y, z)),
    ):
        rows.append(
            _case(
                f"ellipse of 30 x 23 x 18 cm, {filling}, against SIMIND's NEMA body Tc-99m (V8, 126.5-154.6 keV, 12 %)",
                activity,
                nema * water,
                _orbit(GRID, VOXEL_MM, 12, 168.0, camera),
                {"s_p": 0.629, "s_t": 0.386, "orders": [0.813, 0.166, 0.022]},
                "the phantom by its size only, what was filled is not stated; SIMIND with backscatter: plausibility",
            )
        )
    point = np.zeros(GRID)
    point[31:33, 31:33, 19:21] = 1
    rows.append(
        _case(
            "point at the centre of a water cylinder of 22 cm, against an earlier prototype",
            point,
            (x**2 + y**2 < 110**2) * 0.15,
            _orbit(GRID, VOXEL_MM, 12, 250.0, GammaCamera()),
            {"s_p": 0.594},
            "the prototype's length and attenuation are not on record",
        )
    )
    return rows


def _case(name, activity, mu, acquisition, published, caveat) -> dict:
    import torch

    from senmei.physics.spect.monte_carlo import monte_carlo
    from senmei.physics.spect.projector import Projector
    from senmei.physics.spect.scatter import scatter_projections

    activity, mu = np.asarray(activity, np.float32), np.asarray(mu, np.float32)
    projector = Projector(acquisition, mu)
    start = time.perf_counter()
    got = monte_carlo(
        activity, mu, acquisition, histories=400_000, rng=np.random.default_rng(0), projector=projector
    )
    seconds = time.perf_counter() - start
    kernel = float(scatter_projections(activity, mu, projector).double().sum())
    primary = float(projector.forward(activity).double().sum())
    scatter = got["scatter_to_primary"] * primary
    water_mu, coherent = 0.152, 2.8e-3 * (140.0 / acquisition.camera.energy_kev) ** 2
    dimmed = projector.with_attenuation(torch.as_tensor(mu * (1 + coherent / water_mu)))
    lost = primary - float(dimmed.forward(activity).double().sum())
    with_coherent = (scatter + lost) / (primary - lost)
    row = {
        "case": name,
        "caveat": caveat,
        "published": published,
        "monte_carlo": {
            "s_p": round(got["scatter_to_primary"], 4),
            "s_t": round(got["scatter_to_total"], 4),
            "orders": [round(value, 3) for value in got["orders"]],
            "seconds": round(seconds, 2),
        },
        "with_coherent": {
            "s_p": round(with_coherent, 4),
            "s_t": round(with_coherent / (1 + with_coherent), 4),
        },
        "effective_source": {
            "s_p": round(kernel / primary, 4),
            "s_t": round(kernel / (kernel + primary), 4),
        },
        "difference_percent_s_p": {
            "monte_carlo": round(100 * (got["scatter_to_primary"] / published["s_p"] - 1), 1),
            "with_coherent": round(100 * (with_coherent / published["s_p"] - 1), 1),
        },
    }
    print(f"{name}: S/P {row['monte_carlo']['s_p']} published {published['s_p']}", flush=True)
    return row


def _with_spheres(activity, volumes_ml, concentration, x, y, z):
    for number, volume in enumerate(volumes_ml):
        radius, turn = 10 * (volume * 3 / 4 / np.pi) ** (1 / 3), number * np.pi / 3
        away = (x - 57 * np.cos(turn)) ** 2 + (y - 57 * np.sin(turn)) ** 2 + z**2
        activity[away < radius**2] = concentration
    return activity


def _orbit(shape, voxel_mm, views, radius_mm, camera):
    from senmei.physics.spect.geometry import orbit

    return orbit(
        shape, voxel_mm, views=views, arc_deg=360.0, start_deg=0.0, radius_mm=radius_mm, camera=camera
    )


def _torso(seed: int):
    from senmei.phantoms.torso import draw_torso, draw_uptake, render_torso

    rng = np.random.default_rng(1000 + seed)
    torso = render_torso(draw_torso(rng), uptake=draw_uptake(rng), grid=GRID, voxel_mm=VOXEL_MM)
    return torso.activity.data, torso.mu.data


def _torsos(options: argparse.Namespace) -> dict:
    from senmei.physics.spect.geometry import orbit
    from senmei.physics.spect.monte_carlo import monte_carlo
    from senmei.physics.spect.projector import Projector
    from senmei.physics.spect.scatter import scatter_projections

    acquisition, rows, cheap = orbit(GRID, VOXEL_MM), [], []
    for seed in range(options.torsos):
        activity, mu = _torso(seed)
        projector = Projector(acquisition, mu)
        primary = projector.forward(activity).numpy()
        scatter_projections(activity, mu, projector)  # makes the kernels, once for a geometry
        start = time.perf_counter()
        fast = scatter_projections(activity, mu, projector).numpy()
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        reference = monte_carlo(
            activity,
            mu,
            acquisition,
            histories=options.histories,
            rng=np.random.default_rng(seed),
            projector=projector,
        )
        slow, noise = reference["scatter"], reference["noise"]
        error = _nrmse(fast, slow)
        views = fast.sum((0, 1)) / slow.sum((0, 1))
        # profiles along u, through the brightest row of the anterior view, summed over three rows
        view = int(np.argmin(np.abs(acquisition.angles_deg)))
        row = int(np.argmax(primary[:, :, view].max(0)))
        near = slice(max(row - 1, 0), row + 2)
        profile = [p[:, near, view].sum(1) for p in (fast, slow)]
        rows.append(
            {
                "torso": seed,
                "monte_carlo": {
                    "s_t": round(reference["scatter_to_total"], 4),
                    "s_p": round(reference["scatter_to_primary"], 4),
                    "orders": [round(v, 3) for v in reference["orders"]],
                    "noise": round(noise, 4),
                    "histories": options.histories,
                    "seconds": round(time.perf_counter() - start, 1),
                },
                "effective_source": {
                    "s_t": round(float(fast.sum() / (fast.sum() + primary.sum())), 4),
                    "total_percent": round(100 * (float(fast.sum() / slow.sum()) - 1), 2),
                    "views_percent": [round(100 * float(f(views) - 1), 2) for f in (np.min, np.max)],
                    "nrmse": round(error, 4),
                    "nrmse_less_noise": round(float(np.sqrt(max(error**2 - noise**2, 0))), 4),
                    "rms_error_percent_of_peak_primary": round(
                        100 * error * float(np.sqrt(np.mean(slow**2)) / np.percentile(primary, 99.9)), 3
                    ),
                    "profile_correlation": round(float(np.corrcoef(*profile)[0, 1]), 4),
                    "profile_nrmse": round(_nrmse(*profile), 4),
                    "seconds": round(seconds, 3),
                },
            }
        )
        print(json.dumps(rows[-1]["effective_source"]), flush=True)
        for histories, smooth in ((50_000, 25.0), (200_000, 0.0), (200_000, 15.0), (500_000, 12.0)):
            start = time.perf_counter()
            few = monte_carlo(
                activity,
                mu,
                acquisition,
                histories=histories,
                rng=np.random.default_rng(99 + seed),
                smooth_mm=smooth,
                projector=projector,
            )
            taken = time.perf_counter() - start
            cheap.append((histories, smooth, few["noise"], _nrmse(few["scatter"], slow), taken, noise))
    option = []
    for histories, smooth in dict.fromkeys((entry[0], entry[1]) for entry in cheap):
        mine = np.array([entry[2:] for entry in cheap if entry[:2] == (histories, smooth)]).mean(0)
        option.append(
            {
                "histories": histories,
                "smooth_mm": smooth,
                "noise": round(float(mine[0]), 4),
                "nrmse_to_reference": round(float(mine[1]), 4),
                "noise_of_reference": round(float(mine[3]), 4),
                "seconds": round(float(mine[2]), 2),
            }
        )
    fast_rows = [row["effective_source"] for row in rows]
    summary = {
        "monte_carlo_s_t": [row["monte_carlo"]["s_t"] for row in rows],
        "effective_source_s_t": [row["s_t"] for row in fast_rows],
        "worst_total_percent": max((row["total_percent"] for row in fast_rows), key=abs),
        "mean_nrmse_less_noise": round(float(np.mean([row["nrmse_less_noise"] for row in fast_rows])), 4),
        "effective_source_seconds": round(float(np.median([row["seconds"] for row in fast_rows])), 3),
        "literature": "20-40 % of the total (Cao, IEEE TNS 1994;41:1594), 30-60 % of the primary (Kojima 1991)",
    }
    return {"torsos": rows, "option": option, "summary": summary}


def _nrmse(got, meant) -> float:
    return float(np.sqrt(np.mean((got - meant) ** 2) / np.mean(meant**2)))


def _fit() -> dict:
    """Constants of the build-up by least squares on photons of a point in water, orders 2 and 3."""
    from scipy.optimize import least_squares

    from senmei.physics import photons
    from senmei.physics.gamma_camera import GammaCamera
    from senmei.physics.spect.monte_carlo import track
    from senmei.physics.spect.scatter import BUILD_UP, build_up, single_scatter

    camera, rng = GammaCamera(), np.random.default_rng(0)
    peak = camera.energy_kev
    water, compton = float(photons.attenuation(peak)), float(photons.compton_attenuation(peak))
    side, voxel_mm, looks = 161, 5.0, 8
    mu = np.full((side,) * 3, water)
    activity = np.zeros((side,) * 3, np.float32)
    activity[(side // 2,) * 3] = 1
    edges = np.linspace(0, 40, 81), np.linspace(-1, 1, 41)
    seen = np.zeros((3, 80, 40))
    for order, s in enumerate(
        track(activity, mu, voxel_mm, peak, histories=1_000_000, rng=rng, lowest_kev=105.0)
    ):
        place = np.stack(np.unravel_index(s.voxel, mu.shape), 1) + rng.random((len(s.voxel), 3)) - side / 2
        radius = np.linalg.norm(place, axis=1)
        for _ in range(looks):
            view = rng.normal(size=place.shape)
            view /= np.linalg.norm(view, axis=1, keepdims=True)
            cosine = (s.direction * view).sum(1)
            left = photons.compton_energy(s.energy_kev, cosine)
            weight = s.weight * 4 * np.pi * photons.klein_nishina(s.energy_kev, cosine)
            weight /= photons.compton_cross_section(s.energy_kev)
            weight *= photons.window_acceptance(left, peak, camera.window, camera.energy_resolution)
            weight /= camera.window_acceptance() * looks
            forward = (place * view).sum(1) / radius
            seen[order] += np.histogram2d(radius * voxel_mm / 10, forward, bins=edges, weights=weight)[0]
    r, c = ((e[1:] + e[:-1]) / 2 for e in edges)
    cell = (
        compton * np.exp(-water * r)[:, None] * 0.5 * 0.025
    )  # shell of 0.5 cm, a fortieth of the directions
    many = (seen[1] + seen[2]) / cell
    weight = np.sqrt(4 * cell)

    def apart(constants):
        return ((build_up(water * r[:, None], c, tuple(constants)) - many) * weight).ravel()

    constants = least_squares(apart, BUILD_UP).x
    single = single_scatter(c, camera)[None] * cell
    return {
        "constants": [round(float(v), 5) for v in constants],
        "in_the_code": list(BUILD_UP),
        "counts_per_primary_by_order": [round(float(v), 5) for v in seen.sum((1, 2))],
        "single_scatter_percent": round(100 * float(single.sum() / seen[0].sum() - 1), 2),
        "build_up_percent": round(
            100 * float((build_up(water * r[:, None], c) * cell).sum() / seen[1:].sum() - 1), 2
        ),
        "histories": 1_000_000,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
