"""A byte that changes by itself: found by its hash, then made anew or refused with the way to mend it; never used."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from senmei.core.method import FitContext
from tests.faults.runs import made
from tests.faults.trained import Trained
from tests.workflow.running import snakemake

STUDY = Path("results/toy/toy_image")
SCAN = "sub-004_acq-dose50"
MODEL = STUDY / "models/rescale"
PREPARED, RESTORED = STUDY / "prepared/toys", STUDY / "restored/toys/rescale"
RESTORE, MEASURE = RESTORED / "sub-004.tsv", STUDY / "measured/toys/rescale/sub-004.tsv"


@pytest.fixture
def run(toy_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, times kept."""
    folder = tmp_path / "run"
    shutil.copytree(toy_run, folder, symlinks=True)
    return folder


def flip(path: Path, old: bytes | None = None, new: bytes = b"") -> None:
    """Change one byte in the middle of a file, or `old` to `new`, its time kept as decay would."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    if old is None:
        content[len(content) // 2] ^= 0x10
    else:
        assert content.count(old) >= 1
        content = bytearray(bytes(content).replace(old, new, 1))
    path.write_bytes(bytes(content))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def forced(run: Path, target: Path, *, ok: bool = True) -> str:
    """Run the job of one manifest again."""
    return snakemake(run, "-c1", "-f", "--", str(target), ok=ok)


def errors(path: Path) -> list[str]:
    """What a table says of its scans that failed."""
    with path.open() as file:
        return [row["error"] for row in csv.DictReader(file, delimiter="\t") if row["status"] == "failed"]


def mended(run: Path, wanted: dict[str, str], *more: str) -> None:
    """After the usual command, with what the message adds to it, every file is as it was."""
    snakemake(run, "-c2", "--quiet=rules", *more, "measured")
    assert made(run) == wanted


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: flip(model / "weights.safetensors"), "Weights do not belong to their card"),
        (lambda model: flip(model / "card.json", b"{", b"["), "Cannot read the card of a method"),
        (lambda model: flip(model / "card.json", b'"rescale"', b'"rescalf"'), "Card of a method was changed"),
    ],
    ids=["weights", "card", "card that still parses"],
)
def test_a_damaged_model_is_refused_and_trained_again(
    damage: Callable[[Path], None], message: str, run: Path, toy_run: Path
) -> None:
    wanted = made(toy_run)
    damage(run / MODEL)
    text = forced(run, RESTORE, ok=False)
    assert message in text
    named = re.search(r"train again: run as before with (--forcerun=\S+)", text)
    assert named, text
    mended(run, wanted, named[1])


@pytest.mark.parametrize(
    ("group", "role", "target"),
    [("input", "input", RESTORE), ("truth", "reference", MEASURE)],
)
def test_a_damaged_prepared_image_fails_its_scan_and_is_made_anew(
    group: str, role: str, target: Path, run: Path, toy_run: Path
) -> None:
    """Also where `input` hands the prepared file itself on."""
    wanted = made(toy_run)
    manifest = PREPARED / group / "sub-004.tsv"
    flip(run / PREPARED / group / f"{SCAN}_{role}.nii.gz")
    if group == "input":  # so that restoring has to look at its input
        (run / RESTORED / f"{SCAN}.json").unlink()
        (run / STUDY / f"restored/toys/input/{SCAN}.json").unlink()
    forced(run, target)
    assert len(errors(run / target)) == 1
    assert "File has changed since it was made" in errors(run / target)[0]
    assert f"run as before with --forcerun={manifest}: it is made anew" in errors(run / target)[0]
    if group == "input":
        through = STUDY / "restored/toys/input/sub-004.tsv"
        forced(run, through)
        assert f"run as before with --forcerun={manifest}: it is made anew" in errors(run / through)[0]
    mended(run, wanted, f"--forcerun={manifest}")


def test_a_damaged_restored_image_fails_its_scan_and_is_made_anew(run: Path, toy_run: Path) -> None:
    wanted = made(toy_run)
    flip(run / RESTORED / f"{SCAN}.nii.gz")
    forced(run, MEASURE)
    assert f"run as before with --forcerun={RESTORE}: it is made anew" in errors(run / MEASURE)[0]
    mended(run, wanted, f"--forcerun={RESTORE}")


def test_a_damaged_hash_in_a_manifest_fails_its_scan_and_is_made_anew(run: Path, toy_run: Path) -> None:
    """The image is sound, what vouches for it is not: then it is not used either."""
    wanted = made(toy_run)
    with (run / RESTORE).open() as file:
        digest = next(csv.DictReader(file, delimiter="\t"))["sha256"]
    flip(run / RESTORE, digest.encode(), (digest[:-1] + ("0" if digest[-1] != "0" else "1")).encode())
    forced(run, MEASURE)
    assert f"run as before with --forcerun={RESTORE}: it is made anew" in errors(run / MEASURE)[0]
    mended(run, wanted, f"--forcerun={RESTORE}")


def test_a_damaged_sidecar_is_not_believed(run: Path, toy_run: Path) -> None:
    """Whether it no longer parses or says something else: the scan is made anew, to the same bytes."""
    wanted = made(toy_run)
    sidecars = [run / RESTORED / f"{SCAN}.json", run / PREPARED / "input" / f"{SCAN}.json"]
    flip(sidecars[0])
    record = json.loads(sidecars[1].read_text())
    record["outputs"]["input"]["path"] = "../truth/" + f"{SCAN}_reference.nii.gz"
    record["outputs"]["input"]["sha256"] = wanted[f"toy_image/prepared/toys/truth/{SCAN}_reference.nii.gz"]
    sidecars[1].write_text(json.dumps(record))
    assert "up to date" not in forced(run, PREPARED / "input" / "sub-004.tsv")
    forced(run, RESTORE)
    mended(run, wanted)


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self):
        return (Path.touch, (self.sign,))


def _checkpoints(folder: Path, good: bytes) -> dict[str, bytes]:
    import hashlib
    import io

    evil = pickle.dumps(Evil(folder / "executed"))
    packed = io.BytesIO()
    torch.save({"key": "trained", "step": Evil(folder / "executed")}, packed)
    middle = bytearray(good)
    middle[len(good) // 2] ^= 0x10
    sealed = [hashlib.sha256(content).digest() + content for content in (evil, packed.getvalue())]
    return {
        "junk": b"junk" * 100,
        "empty": b"",
        "cut": good[:-9],
        "a byte": bytes(middle),
        "evil pickle": evil,
        "evil archive": packed.getvalue(),
        "evil pickle with its hash": sealed[0],
        "evil archive with its hash": sealed[1],
    }


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_or_hostile_checkpoint_is_told_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training starts afresh and ends with the weights of an undisturbed one; no code in a file is ever run."""
    monkeypatch.setattr("tests.faults.trained.STEP", 0.0)
    wanted = Trained().fit([], [], FitContext(log=lambda text: None))
    looks = iter([False, False, True])
    left = tmp_path / "checkpoint.pt"
    with pytest.raises(Exception, match="Training left after step 3"):
        Trained().fit(
            [], [], FitContext(checkpoint=left, log=lambda text: None, stop=lambda: next(looks, True))
        )
    good = left.read_bytes()
    lines: list[str] = []
    resumed = Trained().fit([], [], FitContext(checkpoint=left, log=lines.append))
    assert any("resuming after step 3" in line for line in lines)
    assert {k: v.tobytes() for k, v in resumed.items()} == {k: v.tobytes() for k, v in wanted.items()}
    for name, content in _checkpoints(tmp_path, good).items():
        left.write_bytes(content)
        lines.clear()
        weights = Trained().fit([], [], FitContext(checkpoint=left, log=lines.append))
        assert any("the checkpoint cannot be read" in line for line in lines), name
        assert not any("resuming" in line for line in lines), name
        assert {k: v.tobytes() for k, v in weights.items()} == {k: v.tobytes() for k, v in wanted.items()}
        assert not (tmp_path / "executed").exists(), name
    pickle.loads(pickle.dumps(Evil(tmp_path / "executed")))
    assert (tmp_path / "executed").exists(), "the bait works"
