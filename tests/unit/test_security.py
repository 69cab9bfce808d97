"""What comes from outside stays data: weights run nothing, names leave no folder, no identity passes the door."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from senmei.core.configuration import load_yaml, merge, resolve
from senmei.core.errors import ConfigError, DataError, EngineError, SenmeiError
from senmei.core.method import FitContext
from senmei.engines.dcm2niix import find_dcm2niix, ingest_dicom
from senmei.io.atomic import sha256
from senmei.io.bids import list_bids
from senmei.io.deidentify import subject_label
from senmei.io.dicom import list_dicom
from senmei.io.names import safe_label, stem
from senmei.io.tables import read_tsv
from senmei.stages.cards import load_method
from senmei.stages.shards import Made, check_of, each_scan
from senmei.training.loop import Player, Schedule, train
from tests.corpus.make import brain, write_dataset, write_series

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = [
    "../../x",
    "..",
    ".",
    "/etc/x",
    "C:\\x",
    "..\\..\\x",
    "x\0y",
    "x\ny",
    "x\n",
    "x" * 5000,
    "\uff0e\uff0e\uff0fx",  # fullwidth, which a normalisation turns into ASCII
    "\u2024\u2024/x",  # one dot leaders
    "..\u2215x",  # division slash
    "$(touch x)",
    "`touch x`",
    ";touch x",
    "'x'",
    '"x"',
    "x y",
    "-rf",
    "~root",
    "%2e%2e%2fx",
    "x\u202egnp",
    "",
]
each_hostile = pytest.mark.parametrize("name", HOSTILE, ids=lambda name: repr(name)[:24])


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- weights ---


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


PICKLES = {
    "pickle": lambda payload, path: path.write_bytes(pickle.dumps(payload)),
    "pickle of protocol 0": lambda payload, path: path.write_bytes(pickle.dumps(payload, 0)),
    "torch": lambda payload, path: torch.save({"key": payload}, path),
    "old torch": lambda payload, path: torch.save(
        {"key": payload}, path, _use_new_zipfile_serialization=False
    ),
    "torch, key first": lambda payload, path: torch.save({"key": "key", "players": payload}, path),
}


@pytest.fixture(params=PICKLES)
def armed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A file that runs code when unpickled, and what it would make; it has been seen to do so."""
    write = PICKLES[request.param]
    write(Payload(tmp_path / "proof"), tmp_path / "proof.pt")
    if request.param.startswith("pickle"):
        pickle.loads((tmp_path / "proof.pt").read_bytes())
    else:
        torch.load(tmp_path / "proof.pt", weights_only=False)
    assert (tmp_path / "proof").is_dir(), "the payload works"
    write(Payload(tmp_path / "mark"), tmp_path / "armed.pt")
    return tmp_path / "armed.pt", tmp_path / "mark"


def card_of(weights: Path, use: str = "gaussian", **more: Any) -> Path:
    facts = {"method": "m", "use": use, "settings": {}, "weights_sha256": sha256(weights), **more}
    card = weights.with_name("card.json")
    facts["check"] = check_of(facts)
    card.write_text(json.dumps(facts))
    return card


def test_a_checkpoint_that_would_run_code_is_not_read(armed: tuple[Path, Path]) -> None:
    checkpoint, mark = armed
    lines: list[str] = []
    schedule = Schedule(steps=2, learning_rate=0.1)
    context = FitContext(seed=1, checkpoint=checkpoint, log=lines.append)
    players = {"net": Player(torch.nn.Conv3d(1, 1, 1), schedule)}
    train(players, lambda step: {"loss": 0.0}, None, schedule, context, "key")
    assert not mark.exists()
    assert any("cannot be read" in line and "afresh" in line for line in lines), lines


def test_weights_that_would_run_code_are_refused(armed: tuple[Path, Path]) -> None:
    weights, mark = armed
    with pytest.raises(DataError, match="Cannot read weights"):
        load_method(weights, card_of(weights), "cpu")
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 7, struct.pack("<Q", 2**63), struct.pack("<Q", 100) + b"{}", struct.pack("<Q", 2) + b"[]"]
    + [
        struct.pack("<Q", len(header)) + header
        for header in (
            b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}',
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,80]}}',
            b'{"a":{"dtype":"O","shape":[1],"data_offsets":[0,8]}}AAAAAAAA',
        )
    ],
)
def test_weights_that_lie_about_their_size_are_refused(tmp_path: Path, content: bytes) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(content)
    with pytest.raises(DataError, match="Cannot read weights"):
        load_method(weights, card_of(weights), "cpu")


def test_a_card_imports_and_calls_nothing_that_is_not_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file({"nothing_to_fit": np.zeros(1, np.float32)}, str(weights))
    mark = tmp_path / "mark"
    (tmp_path / "planted_module.py").write_text(f"import os\nos.mkdir({str(mark)!r})\nclass M: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    card = card_of(weights, "planted_module:M")
    with pytest.raises(DataError, match="Card belongs to another method"):
        load_method(weights, card, "cpu", "gaussian")
    assert not mark.exists() and "planted_module" not in sys.modules
    card = card_of(weights, "subprocess:run", settings={"args": ["mkdir", str(mark)]})
    for configured in ("gaussian", None):
        with pytest.raises(SenmeiError):
            load_method(weights, card, "cpu", configured)
    assert not mark.exists()
    assert load_method(weights, card_of(weights, "input"), "cpu", "input")[1]["use"] == "input"


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"use": "gaussian"}', '"\\ud800"'])
def test_a_card_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file({"nothing_to_fit": np.zeros(1, np.float32)}, str(weights))
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(DataError, match="Cannot read the card"):
        load_method(weights, tmp_path / "card.json", "cpu", "gaussian")


# --- no code of ours runs what it reads ---

FORBIDDEN = {
    *(f"{module}.{name}" for module in ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal")
      for name in ("load", "loads", "Unpickler")),
    *("joblib.load", "shelve.open", "pandas.read_pickle", "pd.read_pickle", "jsonpickle.decode"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all"),
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "commands.getoutput"),
    *("os.startfile", "pty.spawn", "tempfile.mktemp", "shutil.unpack_archive"),
}  # fmt: skip
PROGRAMS = {"run", "Popen", "call", "check_call", "check_output"}


def breaches(source: str) -> list[str]:
    """What a Python source does that would run, unpack or believe what it reads: 'line N: what'."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        last = name.rsplit(".", 1)[-1]
        bad = name in FORBIDDEN or last in ("extractall", "unpack_archive")
        bad |= name == "torch.load" and given.get("weights_only") != "True"
        bad |= given.get("allow_pickle", "False") != "False" or given.get("shell", "False") != "False"
        bad |= (
            name.startswith("subprocess.")
            and last in PROGRAMS
            and isinstance((node.args or [None])[0], ast.Constant | ast.JoinedStr | ast.BinOp)
        )
        bad |= (
            name.endswith((".Environment", "jinja2.Template", "Template"))
            and given.get("autoescape") != "True"
        )
        if bad:
            found.append(f"line {node.lineno}: {ast.unparse(node)[:80]}")
    return found


PYTHON = [
    p
    for folder in ("senmei", "scripts", "benchmarks", "docs", "gpu", "slurm")
    for p in (ROOT / folder).rglob("*.py")
]
SMK = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]


def test_no_code_of_ours_runs_or_unpacks_what_it_reads() -> None:
    assert len(PYTHON) > 100
    found = {str(path.relative_to(ROOT)): bad for path in PYTHON if (bad := breaches(path.read_text()))}
    assert found == {}
    imported = re.compile(
        r"^\s*(?:from|import) (?:dill|cloudpickle|joblib|shelve|marshal|tarfile|zipfile)\b", re.M
    )
    assert [path for path in PYTHON if imported.search(path.read_text())] == []


@pytest.mark.parametrize("path", SMK, ids=lambda path: path.name)
def test_no_rule_runs_what_it_reads(path: Path) -> None:
    text = path.read_text()
    words = r"(?<![.\w])(?:eval|exec|compile|__import__|open)\(|pickle|subprocess|os\.system|popen|yaml\.load|shell\b"
    assert re.findall(words, text) == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "pickle.load(file)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
        "exec(text)",
        "subprocess.run(call, shell=True)",
        "subprocess.run('ls ' + name)",
        "subprocess.check_output(f'ls {name}')",
        "os.system('ls')",
        "tarfile.open(path).extractall(place)",
        "archive.extractall()",
        "shutil.unpack_archive(path)",
        "jinja2.Environment()",
    ],
)
def test_the_search_would_find_it(line: str) -> None:
    assert breaches(f"def f():\n    return {line}\n") != []


def test_the_search_lets_sound_calls_pass() -> None:
    sound = "torch.load(p, weights_only=True); np.load(p); yaml.safe_load(t); network.eval(); re.compile(p)"
    sound += "; subprocess.run([a, b]); jinja2.Environment(autoescape=True)"
    assert breaches(sound) == []


# --- names ---


@each_hostile
def test_a_label_is_letters_and_digits(name: str) -> None:
    label = safe_label(name)
    assert re.fullmatch(r"[A-Za-z0-9]{1,64}", label)
    assert re.fullmatch(r"sub-[0-9a-f]{12}", subject_label(name, b"k"))
    if name != label:
        with pytest.raises(ValueError, match="no BIDS entity"):
            stem(name)


@each_hostile
def test_a_hostile_scan_of_a_table_writes_nothing(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "a" / "b" / "c"
    scans = [{"scan": scan, "subject": "sub-1", "split": "test"} for scan in ("good", name)]
    rows = each_scan(
        scans,
        lambda row: Made(roles={"restored": brain(), "note": {"a": 1}}),
        key=lambda row: "key",
        manifest=folder / "shard.tsv",
        provenance={},
        strict=False,
        log=lambda line: None,
    )
    assert [row["status"] for row in rows] == ["ok", "ok", "failed"]
    assert "Cannot name a scan" in rows[-1]["error"]
    assert {path.name for path in folder.iterdir()} == {
        "good.nii.gz",
        "good.json",
        "good_note.json",
        "shard.tsv",
    }
    assert tree(tmp_path) - {f"results/a/b/c/{p.name}" for p in folder.iterdir()} == {
        "results",
        "results/a",
        "results/a/b",
        "results/a/b/c",
    }


@each_hostile
def test_participants_of_hostile_names_and_cells(name: str, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    cell = '"' + name.replace('"', '""') + '"'
    lines = ["participant_id\tage\tgroup", f"sub-01\t30\t{cell}", f"{cell}\t31\ta"]
    (root / "participants.tsv").write_text("\n".join(lines) + "\n", newline="")
    before = tree(tmp_path)
    participants, images, status = list_bids(root)
    assert [row["subject"] for row in participants] == ["sub-01", "sub-02"]
    assert all(re.fullmatch(r"(sub-[A-Za-z0-9]+)?", row["subject"]) for row in status)
    assert len(images) == 2
    assert tree(tmp_path) == before


def overlay(*path: str, value: Any) -> dict[str, Any]:
    config = {"run": "x", "studies": {"mri_denoise": {}}}
    nested: Any = value
    for key in reversed(path):
        nested = {key: nested}
    return merge(config, nested)


MINE = {"use": "test", "source": "bids", "path": "/data"}
COHORTS = ("studies", "mri_denoise", "cohorts")
NAMED = {
    "run": lambda name: overlay("run", value=name),
    "study": lambda name: overlay("studies", name, value={"use": "mri_denoise"}),
    "use of a study": lambda name: overlay("studies", "mri_denoise", "use", value=name),
    "cohort": lambda name: overlay(*COHORTS, name, value=MINE),
    "suffix": lambda name: overlay(*COHORTS, "mine", value={**MINE, "suffix": name}),
    "method": lambda name: overlay("studies", "mri_denoise", "methods", name, value={"use": "gaussian"}),
    "use of a method": lambda name: overlay("studies", "mri_denoise", "methods", "m", value={"use": name}),
    "measure": lambda name: overlay("studies", "mri_denoise", "measures", name, value={"use": "mse"}),
    "analysis": lambda name: overlay("studies", "mri_denoise", "analyses", name, value={"use": "repeats"}),
}


@pytest.fixture(scope="module")
def schemas_read_once() -> Any:
    import copy
    import functools

    from senmei.core import configuration

    read = functools.cache(load_yaml)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configuration, "load_yaml", lambda path: copy.deepcopy(read(path)))
        yield


@each_hostile
@pytest.mark.parametrize("what", NAMED)
def test_a_hostile_name_in_a_configuration_is_refused(what: str, name: str, schemas_read_once: None) -> None:
    if what == "use of a method":
        name = name.replace(":", "")  # with a colon it is a place in a module, which is the user's to name
    with pytest.raises(ConfigError):
        resolve(NAMED[what](name), ROOT)


def test_the_same_configurations_with_sound_names_are_taken(schemas_read_once: None) -> None:
    sound = {"use of a study": "mri_denoise", "use of a method": "nlm3d", "suffix": "T2w"}
    for what, make in NAMED.items():
        assert resolve(make(sound.get(what, "sound")), ROOT)


def _installed() -> bool:
    try:
        return bool(find_dcm2niix())
    except EngineError:
        return False


needs_dcm2niix = pytest.mark.skipif(not _installed(), reason="dcm2niix is not installed")
TAGS = (
    "PatientID",
    "PatientName",
    "SeriesDescription",
    "ProtocolName",
    "Manufacturer",
    "StudyDate",
    "ScanOptions",
)


@needs_dcm2niix
@pytest.mark.filterwarnings("ignore")
@each_hostile
def test_hostile_tags_leave_no_folder(name: str, tmp_path: Path) -> None:
    import pydicom

    text = name.replace("\\", "/")[:1000]  # a backslash parts the values of a tag
    for path in write_series(tmp_path / "in", slices=3, size=(8, 6)):
        data = pydicom.dcmread(path)
        data.SpecificCharacterSet = "ISO_IR 192"
        for tag in TAGS:
            plain = tag in ("StudyDate", "ScanOptions")  # ASCII, whatever the character set
            setattr(data, tag, text.encode("ascii", "ignore").decode() if plain else text)
        data.save_as(path)
    before = tree(tmp_path / "in")
    found = ingest_dicom(tmp_path / "in", tmp_path / "results" / "bids", key=b"k")
    assert len(found.images) == 1, found.report
    assert {path.name for path in tmp_path.iterdir()} == {"in", "results"}
    assert tree(tmp_path / "in") == before
    for made in tree(tmp_path / "results"):
        assert re.fullmatch(r"[A-Za-z0-9_./-]+", made) and ".." not in made
    assert len(read_tsv(tmp_path / "results" / "bids" / "taken.tsv")) == 1


@needs_dcm2niix
@each_hostile
def test_a_hostile_suffix_is_refused_by_the_door(name: str, tmp_path: Path) -> None:
    write_series(tmp_path / "in", slices=3)
    with pytest.raises(ConfigError, match="Cannot name the images"):
        ingest_dicom(tmp_path / "in", tmp_path / "out", suffix=name, key=b"k")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


# --- identities ---


def test_no_part_of_a_file_name_or_modality_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.Quixotic").write_text("x")
    (tmp_path / "1.2.840.113619.77").write_text("x")
    (tmp_path / "letter.TXT").write_text("x")
    (tmp_path / "plain").write_text("x")
    write_series(tmp_path / "a", patient="Quixotic^Z", Modality="QUIXOTIC")
    write_series(tmp_path / "b", number=2, Modality="Zebulon was here")
    found = list_dicom(tmp_path)
    assert found.others == {
        "not DICOM (another suffix)": 2,
        "not DICOM (.txt)": 1,
        "not DICOM (no suffix)": 1,
    }
    assert [series.modality for series in found.series] == ["?", "?"]
