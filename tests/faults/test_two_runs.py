"""Two Snakemakes on one folder at once: the second refuses, the first is not disturbed."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.runs import SLOWLY, Running, Watch, command, made
from tests.workflow.running import planned, snakemake


def test_the_second_refuses_and_nothing_is_damaged(undisturbed: dict[str, str], tmp_path: Path) -> None:
    command(tmp_path, config=SLOWLY)
    with Watch(tmp_path, undisturbed) as watch:
        first = Running(tmp_path, "-c2", "models")
        end = time.monotonic() + 120
        while not first.scripts():
            assert not first.over(), first.text()[-3000:]
            assert time.monotonic() < end
            time.sleep(0.02)
        text = snakemake(tmp_path, "-c2", "models", ok=False)
        assert not first.over(), "the first is still at it"
        assert first.wait() == 0, first.text()[-3000:]
    assert "Directory cannot be locked" in text
    assert "Finished jobid" not in text
    assert watch.bad == []
    found = made(tmp_path)
    assert len(found) > 40
    assert {name: undisturbed.get(name) for name in found} == found
    assert planned(tmp_path, "models") == {}
