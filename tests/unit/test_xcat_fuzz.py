"""XCAT's files under random input: a phantom or an error of ours, in bounded time and memory."""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from senmei.core.errors import ConfigError, DataError, SenmeiError
from senmei.engines.xcat import XcatSettings, list_xcat, read_log, read_xcat, write_parameters

LOG = """
 pixel width =  0.8000 (cm/pixel)
 slice width =  1.0000 (cm/pixel)
 voxel volume (pixel width^2)(slice_width) =  0.640000 ml
 array_size = 4
 starting slice number    = 101
 ending slice number      = 103
energy = 140.5
Linear Attenuation Coefficients (1/cm):
Body (water)     = 0.154000
Linear Attenuation Coefficients (1/pixel):
Body (water)     = 0.123200
"""
SIZE = 4 * 4 * 3 * 4


def complete(error: SenmeiError) -> None:
    assert error.what and error.where and error.why and error.fix


def fuzz(count: int) -> settings:
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


odd = st.sampled_from(
    ["", "0", "-1", "1e9", "9" * 400, "1e308", "nan", "inf", ".", "=", " " * 3000, "4", "104", "0.154"]
)
words = odd | st.text(max_size=12) | st.floats().map(repr) | st.integers(-(2**70), 2**70).map(str)


@given(st.lists(st.tuples(st.integers(0, 12), words), max_size=4), st.integers(0, 2 * SIZE), st.booleans())
@fuzz(250)
def test_logs_and_volumes(changes: list[tuple[int, str]], size: int, whole: bool) -> None:
    lines = LOG.splitlines()
    for at, value in changes:
        at %= len(lines)
        lines[at] = f"{lines[at].partition('=')[0]}= {value}" if "=" in lines[at] else value
    with tempfile.TemporaryDirectory(prefix="senmei-fuzz-") as name:
        base = Path(name, "p")
        Path(name, "p_log").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        values = np.full(SIZE // 4, 0.12, "<f4").tobytes()
        for kind in ("act", "atn"):
            Path(name, f"p_{kind}_1.bin").write_bytes(values if whole else (values * 2)[:size])
        tracemalloc.start()
        try:
            (files,) = list_xcat(name)
            grid = read_log(files.log or base, where="p")
            assert grid.matrix > 0 and grid.slices > 0
            for phase in read_xcat(base, energy_kev=140.5):
                assert np.isfinite(phase.mu.data).all() and phase.activity.shape == phase.mu.shape
        except DataError as error:
            complete(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 8 << 20


def test_a_log_costs_linear_time(tmp_path: Path) -> None:
    for filler in (b"\n", b" ", b"\t\n", b"energy ", b"= ", b"1", b"pixel width ", b" \r"):
        (tmp_path / "log").write_bytes(filler * ((2 << 20) // len(filler)))
        start = time.process_time()
        with pytest.raises(DataError):
            read_log(tmp_path / "log", where="p")
        assert time.process_time() - start < 5


@given(st.binary(min_size=SIZE, max_size=SIZE))
@fuzz(60)
def test_bytes_as_volumes(content: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="senmei-fuzz-") as name:
        Path(name, "p_log").write_text(LOG)
        Path(name, "p_act_1.bin").write_bytes(content)
        Path(name, "p_atn_1.bin").write_bytes(content)
        try:
            (phase,) = read_xcat(Path(name, "p"))
        except DataError as error:
            complete(error)
        else:
            assert np.isfinite(phase.activity.data).all() and phase.mu.data.min() >= 0


scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
keys = st.sampled_from([*XcatSettings.__dataclass_fields__, "theta_deg", "liver", "mode", "x"]) | st.text(
    max_size=4
)
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(keys, scalars, max_size=3)


@given(st.dictionaries(keys, values, max_size=4), st.text(max_size=80))
@fuzz(250)
def test_settings_and_templates(settings_: dict[str, object], template: str) -> None:
    try:
        made = XcatSettings.from_config(settings_)
    except ConfigError as error:
        complete(error)
        return
    text = write_parameters(made, template=template)
    assert f"array_size = {made.matrix}" in text.splitlines()
