"""A cohort of hospital size in small: what is planned, how work and memory grow, how many files a scan leaves.

Counts, not clocks: `benchmarks/scale.py` has the seconds of the full size.
"""

import importlib.util
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from senmei.core import statistics
from senmei.stages.cohort import simulated_rows, tabulate
from senmei.stages.collect import collect_study
from senmei.stages.ingest import ingest_shard
from senmei.stages.measure import analyse_cohort, measure_shard
from senmei.stages.prepare import prepare_shard
from senmei.stages.restore import restore_shard
from senmei.stages.shards import Manifest
from senmei.stages.train import train_method
from tests.contract.many import DOSES, Many, configured, write_tables
from tests.workflow.running import ROOT

_spec = importlib.util.spec_from_file_location("scale", ROOT / "benchmarks" / "scale.py")
scale = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scale)

ONE = {"strict": True, "log": lambda text: None}


def test_jobs_follow_shards_not_scans(tmp_path: Path) -> None:
    few, many = (
        scale.snakemake(tmp_path / str(n), scale.configuration(n // 4, 10), "-n", "--quiet=rules")
        for n in (400, 2000)
    )
    assert few["jobs"] == many["jobs"]
    assert 10 * 3 < many["jobs"]["restore"] <= 13 * 3, "the training cohort's test subjects are restored too"
    assert many["peak_MB"] < 500
    assert many["cpu_s"] < 30


def test_finished_cohort_and_one_subject_more(tmp_path: Path) -> None:
    scale.pretend(tmp_path / "run", scale.configuration(200, 8))
    again = scale.snakemake(tmp_path / "run", scale.configuration(200, 8), "-n", "--quiet=rules")
    assert again["jobs"] == {}
    more = scale.snakemake(tmp_path / "run", scale.configuration(201, 8), "-n", "--quiet=rules")["jobs"]
    more.pop("total")
    assert more == {
        "all": 1,
        "simulate_cohort": 1,
        "ingest": 1,
        "prepare": 2,
        "restore": 3,
        "measure": 3,
        "collect": 1,
        "report_study": 1,
        "report_run": 1,
    }


class Count:
    """Bytecode instructions that the project's own code executes in a `with` block: deterministic, unlike seconds."""

    def __enter__(self) -> "Count":
        self.operations, self._before = 0, sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(str(ROOT / "senmei")):
            return None
        frame.f_trace_opcodes = True
        self.operations += event == "opcode"
        return self._trace


class Stages:
    """The stages of one shard, one after another, without Snakemake."""

    def __init__(self, folder: Path, subjects: int) -> None:
        self.folder, study = folder, Many()
        self.cohort = configured(subjects, 1)["cohorts"]["many"]
        settings = {"doses": list(DOSES)}
        participants, images = simulated_rows(study, self.cohort)
        self.rows = tabulate(study, participants, images, "many", self.cohort, settings, 1)
        train_method(
            "twice",
            {"use": "tests.contract.many:Twice"},
            {},
            {"weights": folder / "w.safetensors", "card": folder / "card.json", "history": folder / "h.tsv"},
            seed=1, code="c", split_sha256="s", device="cpu", threads=1, log=lambda text: None,
        )  # fmt: skip
        self.raw = folder / "s" / "cohorts" / "many" / "raw" / "shard.tsv"
        self.groups = [folder / "s" / "prepared" / "many" / group / "shard.tsv" for group in study.groups]
        self.restored = folder / "s" / "restored" / "many" / "twice" / "shard.tsv"
        self.measured = folder / "s" / "measured" / "many" / "twice" / "shard.tsv"
        self.study, self.settings = study, settings

    def ingest(self) -> None:
        ingest_shard(self.rows, self.raw, self.study, self.cohort, seed=1, code="c", **ONE)

    def prepare(self) -> None:
        for path in self.groups:
            prepare_shard(
                self.rows, self.raw, path.parent.name, path, self.study, self.cohort, self.settings,
                seed=1, code="c", **ONE,
            )  # fmt: skip

    def restore(self) -> None:
        model = self.folder / "w.safetensors", self.folder / "card.json"
        restore_shard(self.rows, self.groups[:1], *model, self.restored, code="c", device="cpu", **ONE)

    def measure(self) -> None:
        measures = {name: f"tests.contract.many:{name}" for name in ("error", "bias")}
        measure_shard(self.rows, self.restored, self.groups, self.measured, measures, **ONE)

    def analyse(self) -> None:
        output = self.folder / "s" / "analysed" / "many" / "gap" / "twice" / "cohort.tsv"
        place = "tests.workflow.test_scale:Counted"
        analyse_cohort([self.restored], self.groups, output, place, {}, log=lambda text: None)


class Counted:
    """An analysis of a whole cohort that only looks at what it is given."""

    def run_cohort(self, pairs, folder):
        return [{"scan": None, "subject": None, "measure": "n", "value": float(sum(1 for _ in pairs))}]


STAGES = ("ingest", "prepare", "restore", "measure", "analyse")


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, dict[str, int]]]:
    """subjects of a shard -> (folder, stage -> operations)."""
    found = {}
    warm = Stages(tmp_path_factory.mktemp("warm"), 1)  # imports and caches are nobody's work
    for stage in STAGES:
        getattr(warm, stage)()
    for subjects in (4, 12):
        folder = tmp_path_factory.mktemp(f"n{subjects}")
        stages, operations = Stages(folder, subjects), {}
        for stage in STAGES:
            with Count() as count:
                getattr(stages, stage)()
            operations[stage] = count.operations
        found[subjects] = folder / "s", operations
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_work_grows_in_step_with_the_shard(counted, stage: str) -> None:
    few, many = counted[4][1][stage], counted[12][1][stage]
    assert few > 1000
    assert many < 3.2 * few, f"{few} operations for 16 scans, {many} for 48"


def test_an_image_and_a_sidecar_a_scan_and_no_more(counted) -> None:
    folder, scans = counted[12][0], 12 * len(DOSES)
    for place in ("restored/many/twice", "prepared/many/input", "prepared/many/truth"):
        names = [path.name for path in (folder / place).iterdir()]
        assert sum(name.endswith(".nii.gz") for name in names) == scans
        assert sum(name.endswith(".json") for name in names) == scans
        assert len(names) == 2 * scans + 1, "and one manifest"
    assert len(list((folder / "measured/many/twice").iterdir())) == 1


def test_looking_up_a_scan_does_not_read_the_manifest_through(counted) -> None:
    def cost(subjects: int) -> int:
        manifest = Manifest(counted[subjects][0] / "restored" / "many" / "twice" / "shard.tsv")
        last = manifest.rows[-1]["scan"]
        with Count() as count:
            assert manifest.sound(last)
            assert list(manifest.roles(last)) == ["restored"]
            assert last in manifest
        return count.operations

    assert cost(4) == cost(12)


def test_memory_of_collecting_and_reporting_hardly_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from senmei.report.study import write_study_report

    monkeypatch.setattr(
        statistics, "_DRAWN", 1 << 12
    )  # the bootstrap's pieces, of one size from 131 subjects on

    def peaks(subjects: int) -> tuple[float, float]:
        folder = tmp_path / str(subjects)
        results, stages, cards, measures = write_tables(folder, subjects, subjects // 20, methods=2)
        uses = {name: spec["use"] for name, spec in measures.items()}
        rest = {"run": "toy", "measures": uses, "analyses": {}, "seed": 1}
        collect = _peak(
            lambda: collect_study(folder, results, stages, cards, "many", "tests.contract.many:Many", **rest)
        )
        spec = {"run": "toy", "primary": ["error"], "conditions": ["dose"]}
        return collect, _peak(lambda: write_study_report(folder, folder / "report.html", spec))

    peaks(20)  # imports and caches
    few, many = peaks(40), peaks(160)
    scans = (160 - 40) * len(DOSES)  # each with 16 numbers: 16 kB as rows
    for what, a, b in zip(("collect", "report"), few, many, strict=True):
        assert (b - a) / scans < 4000, f"{what}: {a / 1e6:.2f} MB at 160 scans, {b / 1e6:.2f} MB at 640"


def _peak(work: Callable[[], None]) -> float:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
