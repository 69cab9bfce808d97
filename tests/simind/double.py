#!/usr/bin/env python3
"""A stand-in for SIMIND: reads its inputs as the manual says, writes what it writes, fails as it fails. Tests only.

It shares no code with Senmei and parses fixed columns, maps and switches by itself, so that agreement means something.
Physics: rotate and attenuate, Gaussian collimator, a wide Gaussian of the primary as scatter, Poisson noise by seed and
histories. Geometry in SIMIND's own X, Y, Z (cm): int16 maps begin at +X, columns run to +Y, rows to -Z; the camera
stands at +Z at angle 0, and goes towards -Y when it turns CCW; the first view stands at minus index 41 in the sense of
rotation; a projection's first row is the +X end, its columns run to +Y at angle 0.

Failures: a line `MODE [call=N | seed=N]` in the variable SIMIND_DOUBLE, or lines of it in SMC_DIR/double.txt.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

VERSION = os.environ.get("SIMIND_DOUBLE_VERSION", "8.0")
RELEASE = int(VERSION.split(".")[0])
BUFFER = 60  # characters of a file name
PARTS = ("air", "tot", "sca")


class Stop(Exception):
    """A fatal error as SIMIND has it: told, and exit status 0."""


def main() -> int:
    print(f"\0\n              SIMIND Monte Carlo Simulation Program    V{VERSION}\n" + "-" * 78, flush=True)
    if len(sys.argv) < 3:
        print(" usage: simind input output/switches")
        return 0
    try:
        simulate(sys.argv[1:])
    except Stop as stop:
        print(stop)
    return 0


def simulate(words: list[str]) -> None:
    global np
    names, switches = read_words(words)
    smc_dir = os.environ.get("SMC_DIR", "")
    if not smc_dir.endswith("/") or not Path(smc_dir + "collim.col").is_file():
        raise Stop(" SIMIND error number :   11")  # names are simply put behind SMC_DIR
    source, output = names[0], names[1]
    orbit = next((name for name in names[2:] if name.endswith(".cor")), None)
    if not Path(source + ".smc").is_file():
        raise Stop(f" SIMIND error number :   2   ({source}.smc)")
    smc = read_smc(Path(source + ".smc"))
    seed = int(switches.get("rr", "1"))
    mode = failure(Path(smc_dir), seed)
    before_outputs(mode, output)
    import numpy as np  # only now: what fails or tells its version does so at once

    for key, value in switches.items():
        if key.isdigit():
            smc["values"][int(key)] = float(value)
    value = smc["values"]
    energy = abs(value[1])
    if value[1] < 0:
        spectrum = switches.get("fi", source)
        if mode == "no-isd" or not Path(f"{smc_dir}{spectrum}.isd").is_file():
            raise Stop(f" No input file found for the spectra: {spectrum}.isd")
    code = switches.get("cc", smc["texts"][0]).upper()
    hole, septa, length = collimator(Path(smc_dir + "collim.col"), code)
    if value[84] != 1:
        raise Stop(" SIMIND error number :   84")
    window_file = switches.get("fw", source) + ".win"
    if not Path(window_file).is_file():
        raise Stop(f" SIMIND error number :   40   ({window_file})")
    windows = [tuple(map(float, row.split(",")[:2])) for row in Path(window_file).read_text().split()]
    activity, mu, voxel = read_maps(smc, switches, energy)
    if "px" not in switches:
        raise Stop(" SIMIND error number :   31")
    multiplier = float(switches.get("nn", "1"))
    histories = activity.sum() * multiplier
    if histories < 1:
        raise Stop(" SIMIND error number :   15")
    views, radii = orbit_of(value, orbit, mode)
    noise_free = project(activity / activity.sum(), mu, voxel, value, views, radii, (hole, length), mode)
    peak = next((w for w in windows if w[0] <= energy <= w[1]), windows[0])
    sensitivity = 1e6 * 0.89 * 0.84 * (0.26 * hole / (length - 2 / 27.3)) ** 2 * (hole / (hole + septa)) ** 2
    generator = np.random.default_rng([seed, 7])
    started = time.strftime("%Y:%m:%d %H:%M:%S")
    rates = []
    for number, window in enumerate(windows, start=1):
        share = (window[1] - window[0]) / (peak[1] - peak[0])
        inside = window[0] <= energy <= window[1]
        primary = noise_free * sensitivity * (0.98 if inside else 0.0)
        scatter = wide(noise_free, value[28]) * sensitivity * (0.35 if inside else 0.5 * share)
        primary, scatter = (drawn(mean, histories, sensitivity, generator) for mean in (primary, scatter))
        parts = {"tot": primary + scatter, "sca": scatter, "air": primary * 1.5}
        if mode == "pri":
            parts["pri"] = primary
        rates.append((parts["tot"].sum() / len(views), scatter.sum() / len(views)))
        write_window(output, number, window, parts, value, code, switches, radii, orbit, mode)
    write_protocol(output, source, smc, windows, rates, histories, words, started, switches, window_file)
    if orbit or mode == "own-cor":
        text = "".join(f"{r:12.3f}{(value[76] + 1) / 2:6.0f}\n" for r in radii)
        Path(named(output, ".cor")).write_text(text)
    print(" OTHER INFORMATION\n Comment:" + smc["comment"] + "\n" + "-" * 78)
    after_outputs(mode, output)


def read_words(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Names, and switches by their first two characters: a slash begins a switch wherever it stands."""
    names, switches = [], {}
    for word in words:
        name, *rest = word.split("/")
        if name:
            names.append(name.lower().split("-")[0])
        for switch in filter(None, rest):
            key, _, text = re.sub("=", ":", switch, count=1).partition(":")
            key = key.lower()
            if key.isdigit() and len(key) < 2:
                raise Stop(f" SIMIND error number :   90   (/{switch})")
            switches[key if key.isdigit() else key[:2]] = text.lower()
    return names, switches


def read_smc(path: Path) -> dict:
    lines = path.read_text(encoding="latin-1").split("\n")
    if lines[0] != "SMCV2" or "# Basic Change data" not in lines[2]:
        raise Stop(" SIMIND error number :   3")
    values, row = {}, 3
    for index in range(1, 121):
        column = 12 * ((index - 1) % 5)
        field = lines[3 + (index - 1) // 5][column : column + 12]
        if len(field) != 12 or not re.fullmatch(r"[ -]0\.\d{5}E[+-]\d\d", field):
            raise Stop(f" SIMIND error number :   4   (index {index}: '{field}')")
        values[index] = float(field)
    row = 3 + 24
    if not lines[row].startswith("    30") or len(lines[row + 1]) != 30:
        raise Stop(" SIMIND error number :   5")
    flags = lines[row + 1]
    texts = [line.strip() for line in lines[row + 3 : row + 11]]
    files = [line[:60].strip().lower() for line in lines[row + 12 : row + 24]]
    if flags[4] != "T" or flags[13] != "T" or flags[3] != "T":
        raise Stop(" SIMIND error number :   6   (no SPECT, collimator or Interfile asked for)")
    return {"values": values, "flags": flags, "texts": texts, "files": files, "comment": lines[1].strip()}


def read_maps(smc: dict, switches: dict, energy: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Activity and attenuation per cm on the grid (X, Y, Z ascending), and its voxel in cm."""
    value = smc["values"]
    columns, rows, slices = (int(value[i]) for i in (78, 81, 34))
    voxel = value[31]
    if abs(float(switches["px"]) - voxel) > 1e-4 * voxel or abs(2 * value[5] / slices - voxel) > 1e-3 * voxel:
        raise Stop(" SIMIND error number :   33")  # this double wants equal maps of cubic voxels
    density, source = switches.get("fd", smc["files"][4]), switches.get("fs", smc["files"][5])
    kinds = {-1: (".dmi", ".smi", "<i2"), -7: ("_atn_av.bin", "_act_av.bin", "<f4")}
    if value[14] not in kinds or value[15] != value[14]:
        raise Stop(" SIMIND error number :   14")
    ends = kinds[value[14]]
    maps = []
    for name in (density + ends[0], source + ends[1]):
        if not Path(name).is_file():
            raise Stop(f" SIMIND error number :   64   ({name})")
        data = np.fromfile(name, ends[2])
        if data.size != columns * rows * slices:
            raise Stop(f" SIMIND error number :   64   ({name}: end of file)")
        data = data.reshape(slices, rows, columns).astype(float)
        if value[14] == -1:
            data = data[::-1]  # the first slice is the +X end
        maps.append(data.transpose(0, 2, 1)[:, :, ::-1])  # rows run to -Z
    mu, activity = maps
    water = math.exp(np.interp(math.log(energy), np.log([100, 150, 200]), np.log([0.1707, 0.1505, 0.1370])))
    mu = mu / 1000 * water if value[14] == -1 else mu / voxel
    return activity, mu, voxel


def orbit_of(value: dict, orbit: str | None, mode: str) -> tuple[np.ndarray, list[float]]:
    """Camera angles from +Z, CCW (towards -Y) positive, and radii in cm."""
    count, code = int(value[29]), value[30]
    arc = {0: -360.0, 1: -180.0, 2: 360.0, 3: 180.0}.get(code, code)
    start = -value[41] if mode != "start" else value[41]
    angles = start + abs(arc) / count * np.arange(count)
    if (arc > 0) != (mode == "turns"):
        angles = -angles  # CW
    radii = [value[12]] * count
    if orbit:
        radii = [float(line.split()[0]) for line in Path(orbit).read_text().splitlines()]
        if len(radii) != count:
            raise Stop(" SIMIND error number :   42")
    return angles, radii


def project(activity, mu, voxel, value, angles, radii, holes, mode) -> np.ndarray:
    """(view, row, column): share of the emitted photons, without noise."""
    nx, ny, nz = activity.shape
    columns, rows, pixel = int(value[76]), int(value[77]), value[28]
    size = max(ny, nz)
    step = (np.arange(size) - (size - 1) / 2) * voxel
    tables = [a.transpose(1, 2, 0).reshape(ny * nz, nx) for a in (activity, mu)]
    out = np.empty((len(angles), rows, columns))
    hole, length = holes
    length -= 2 / 27.3
    for view, (angle, radius) in enumerate(zip(np.radians(angles), radii, strict=True)):
        toward, along = (-math.sin(angle), math.cos(angle)), (math.cos(angle), math.sin(angle))
        depth, u = step[:, None], step[None, :]
        y = (depth * toward[0] + u * along[0]) / voxel + (ny - 1) / 2
        z = (depth * toward[1] + u * along[1]) / voxel + (nz - 1) / 2
        turned = [turn(table, y, z, (ny, nz)) for table in tables]  # (depth, u, X)
        ahead = np.cumsum(turned[1][::-1], axis=0)[::-1] - turned[1] / 2
        planes = turned[0] * np.exp(-ahead * voxel)
        total = np.zeros((size, nx))
        for group in np.array_split(np.arange(size), min(size, 16)):
            distance = max(radius - float(step[group].mean()), 0.0)
            fwhm = math.hypot(hole * (length + distance) / length, value[23])
            sigma = fwhm / 2.3548 / voxel
            total += blur(size, sigma) @ planes[group].sum(axis=0) @ blur(nx, sigma)
        image = onto(onto(total, voxel, columns, pixel).T, voxel, rows, pixel)  # (X, u)
        out[view] = image if mode == "rows" else image[::-1]  # the first row is the +X end
    return out


def turn(table: np.ndarray, y: np.ndarray, z: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear values of a (Y * Z, X) table at places (depth, u)."""
    result = np.zeros((*y.shape, table.shape[1]))
    y0, z0 = np.floor(y + 1e-9).astype(int), np.floor(z + 1e-9).astype(int)
    for dy in (0, 1):
        for dz in (0, 1):
            i, j = y0 + dy, z0 + dz
            weight = (1 - np.abs(y - i)).clip(0) * (1 - np.abs(z - j)).clip(0)
            weight = weight * ((i >= 0) & (i < shape[0]) & (j >= 0) & (j < shape[1]))
            place = i.clip(0, shape[0] - 1) * shape[1] + j.clip(0, shape[1] - 1)
            result += weight[..., None] * table[place]
    return result


def onto(array: np.ndarray, voxel: float, count: int, pixel: float) -> np.ndarray:
    """The first axis rebinned by overlap from cells of `voxel` to `count` cells of `pixel`, same centre."""
    n = len(array)
    total = np.concatenate([np.zeros((1, *array.shape[1:])), np.cumsum(array, axis=0)])
    edges = ((np.arange(count + 1) - count / 2) * pixel / voxel + n / 2).clip(0, n)
    low = np.minimum(edges.astype(int), n - 1)
    at = total[low] + (edges - low)[:, None] * (total[low + 1] - total[low])
    return np.diff(at, axis=0)


def blur(count: int, sigma: float) -> np.ndarray:
    """A Gaussian as a matrix; what leaves the field is lost."""
    far = np.subtract.outer(np.arange(count), np.arange(count))
    reach = np.arange(-200, 201)
    return np.exp(-(far**2) / (2 * sigma**2)) / np.exp(-(reach**2) / (2 * sigma**2)).sum()


def wide(primary: np.ndarray, pixel: float) -> np.ndarray:
    rows, columns = primary.shape[1:]
    return blur(rows, 3.0 / pixel) @ primary @ blur(columns, 3.0 / pixel)


def drawn(mean: np.ndarray, histories: float, sensitivity: float, rng: np.random.Generator) -> np.ndarray:
    """Counts per second and MBq with the noise of so many photons, of which 5 % count."""
    events = 0.05 * histories
    return (rng.poisson(mean / sensitivity * events) / events * sensitivity).astype("<f4")


def collimator(path: Path, code: str) -> tuple[float, float, float]:
    for line in path.read_text().splitlines():
        if line.upper().startswith("*" + code + " "):
            hole, septa, length = map(float, line.split()[1:4])
            return hole, septa, length
    raise Stop(f" SIMIND error number :   45   ({code})")


def named(output: str, end: str) -> str:
    """A file name in its buffer: what is too long is cut off without a word."""
    return (output + end)[:BUFFER]


def write_window(output, number, window, parts, value, code, switches, radii, orbit, mode) -> None:
    for part, data in parts.items():
        if mode == "missing" and part == "sca":
            continue
        stem = f"{output}_{part}_w{number}"
        image = data.astype("<f4")
        if mode == "nan":
            image[0, 0, 0] = np.nan
        content = image.tobytes()
        if mode == "short" and part == "tot":
            content = content[: len(content) // 2]
        Path(named(stem, ".a00")).write_bytes(content)
        text = header(output, stem, window, data, value, code, switches, radii, orbit)
        Path(named(stem, ".h00")).write_text(text)


def header(output, stem, window, data, value, code, switches, radii, orbit) -> str:
    """The Interfile header as releases 6.2, 7, 8 and 9 write it."""
    views, rows, columns = data.shape
    mm = RELEASE >= 8
    pixel = f"{10 * value[28]:.6f}" if mm else f"{10 * value[28]:.3f}"
    arc = {0: -360.0, 1: -180.0, 2: 360.0, 3: 180.0}.get(value[30], value[30])
    unit = 10.0 if mm else 1.0
    holes = collimator(Path(os.environ["SMC_DIR"] + "collim.col"), code)
    matrix = [f"!matrix size [1] := {columns}", f"!matrix size [2] := {rows}"]
    matrix += ["!number format := short float", "!number of bytes per pixel := 4"]
    scale = [f"scaling factor (mm/pixel) [{n}] := {pixel}" for n in (1, 2)]
    order = ["imagedata byte order := LITTLEENDIAN"]
    lines = ["!INTERFILE :=", "!imaging modality := nucmed", ";# imaging modality 2 := EMS"]
    lines += ["!originating system := simind", "!version of keys := 3.3", "program author := the double"]
    lines += [f"program version := V{VERSION}", "  ", "!GENERAL DATA :=", "original institution := none"]
    lines += ["!data offset in bytes := 0", f"!name of data file := {named(stem, '.a00')}"]
    lines += [f"patient name := SMC_{named(stem, '.a00')}", "!study ID := test"]
    lines += [
        f";# Radionuclide := {switches.get('fi', 'none')}",
        "exam type := EMISSION",
        "!patient ID := SIMIND",
    ]
    lines += ["  ", "!GENERAL IMAGE DATA :="]
    lines += ["patient position := FFS"] if mm else ["patient rotation := supine"]
    lines += ["patient orientation := head_in", "!type of data := tomographic"]
    lines += ["study date := 2026:01:01", "study time := 12:00:00"]
    if not mm:
        lines += [*order, "patient rotation := supine", "patient orientation := head_in"]
    lines += [
        f";energy window lower level := {window[0]:.2f}",
        f";energy window upper level := {window[1]:.2f}",
    ]
    lines += [f"!total number of images := {views}", "!number of energy windows := 1"]
    lines += [*matrix, *order, *scale] if mm else []
    if RELEASE == 6:
        lines += ["!GATED SPECT STUDY (General) :=", "!number of time windows := 1"]
    lines += [";# Units of data (ECT) := counts", "  ", "!SPECT STUDY (General) :="]
    lines += ["number of detector heads := 1", *([] if mm else [*matrix, *scale])]
    lines += [f"!extent of rotation := {abs(arc):.0f}", "!process status := acquired"]
    lines += [f"!number of projections := {views}", "!time per projection (sec) := 1.000"]
    lines += [f"maximum pixel count := {data.max():.3f}", f";# total counts := {data.sum():.3f}", "  "]
    lines += ["!SPECT STUDY (acquired data) :="]
    if orbit:
        lines += ["orbit := noncircular", f";# Non-Uniform Orbit File := {named(output, '.cor')}"]
    else:
        lines += ["orbit := circular", f";#Radius := {unit * radii[0]:.3f}"]
    lines += ["acquisition mode := stepped", f"!direction of rotation := {'CCW' if arc < 0 else 'CW'}"]
    lines += [f"start angle := {value[41]:.3f}", ";#X_offset := 0.000", "  "]
    lines += [
        ";# SIMIND-SPECIFIC PARAMETERS :=",
        f";# Intrinsic FWHM for the camera := {unit * value[23]:.3f}",
    ]
    lines += [f";# Collimator := {code.lower()}", f";# Collimator hole diameter := {unit * holes[0]:.3f}"]
    lines += [f";# Collimator hole septa := {unit * holes[1]:.3f}"]
    lines += [f";# Collimator thickness := {unit * holes[2]:.3f}"]
    lines += [f";# SIMIND: Photon Energy := {abs(value[1]):.3f}", "  ", "!END OF INTERFILE :="]
    return "\n".join(lines) + "\n"


def write_protocol(
    output, source, smc, windows, rates, histories, words, started, switches, window_file
) -> None:
    value, rule = smc["values"], "-" * 78
    text = ["", "", f"              SIMIND Monte Carlo Simulation Program    V{VERSION}", rule]
    text += [f" Phantom(S): {smc['files'][0]:10s}Crystal...: {smc['files'][3]:10s}InputFile.: {source}"]
    text += [
        rule,
        f" PhotonEnergy.......: {abs(value[1]):<13.5g}{switches.get('fi', ''):10s}PhotonsPerProj....: "
        f"{histories:.0f}",
        rule,
    ]
    text += [
        f"  Scattwin results: Window file: {window_file}",
        "  ",
        "  Win  WinAdded  Range(keV)   ScaleFactor",
    ]
    text += [f"{n:4d}       0    {low:.1f} - {high:.1f}    1.00" for n, (low, high) in enumerate(windows, 1)]
    text += ["  ", "  Win    Total    Scatter   Primary  S/P-Ratio S/T Ratio  Cps/MBq"]
    for n, (total, scatter) in enumerate(rates, 1):
        primary = total - scatter
        numbers = (total, scatter, primary, scatter / max(primary, 1e-9), scatter / max(total, 1e-9), total)
        text.append(f"{n:4d}   " + " ".join(f"{x:.3E}" for x in numbers))
    text += ["  ", rule, f" Sensitivity Cps/MBq: {rates[0][0]:.4f}", rule, f" Simulation started.: {started}"]
    text += [" SIMIND built 2026:01:01 with a double", " Random number generator: ranmar"]
    text += [f" Comment:{smc['comment']}", " Command: " + " ".join(words)]
    Path(named(output, ".res")).write_text("\n".join(text) + "\n")


def failure(folder: Path, seed: int) -> str:
    """What to do wrong at this call. Calls are counted in SMC_DIR/double.calls, one byte each."""
    with open(folder / "double.calls", "ab") as stream:
        stream.write(b".")
        stream.flush()
        call = os.fstat(stream.fileno()).st_size
    lines = [os.environ.get("SIMIND_DOUBLE", "")]
    control = folder / "double.txt"
    lines += control.read_text().splitlines() if control.is_file() else []
    for line in filter(str.strip, lines):
        mode, *conditions = line.split()
        wanted = dict(part.split("=") for part in conditions)
        if all({"call": call, "seed": seed}[key] == int(number) for key, number in wanted.items()):
            return mode
    return ""


def before_outputs(mode: str, output: str) -> None:
    if mode == "stdout-error":
        raise Stop(" SIMIND ERROR NUMBER :   64")
    if mode == "stderr-error":
        print("=== Error while reading the density map", file=sys.stderr)
        sys.exit(0)
    if (
        mode == "silent"
    ):  # nothing written, nothing said: what an earlier run left would be taken for this one's
        sys.exit(0)
    if mode == "exit":
        print("forrtl: severe (174): SIGSEGV, segmentation fault occurred", file=sys.stderr)
        sys.exit(174)
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        Path("pids").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(300)


def after_outputs(mode: str, output: str) -> None:
    if mode == "late-error":
        print(" simind Error Number : 99")
    if mode == "full":
        print("forrtl: No space left on device", file=sys.stderr)
    if mode == "stale":
        for path in Path().glob(f"{output}*"):
            os.utime(path, (1e9, 1e9))


if __name__ == "__main__":
    sys.exit(main())
