"""Whole runs over hostile names and planted identities: nothing leaves the results or reaches a shell."""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path
from typing import Any

import pytest

from senmei.core.errors import EngineError
from senmei.engines.dcm2niix import find_dcm2niix
from senmei.io.names import safe_label
from senmei.io.tables import read_tsv
from tests.corpus.make import write_dataset, write_series, write_subject
from tests.workflow.running import ROOT, snakemake
from tests.workflow.test_corpus import config

NAMES = (
    "$(touch pwned1)",
    "`touch pwned2`",
    ";touch pwned3;",
    "a b",
    "'q'",
    '"q"',
    "|touch pwned4",
    "&touch pwned5&",
)
NAMES += (
    "$HOME",
    "{wildcards.x}",
    "%s",
    "\\",
    "*",
    "../..".replace("/", "∕"),
    "．．",
    "x" * 80,
    "-rf",
    "~",
    "#",
)
CELLS = (
    "../../escaped",
    "/etc/escaped",
    "C:\\escaped",
    "x" * 5000,
    "<script>alert(7)</script>",
    "$(touch pwned6)",
    "\uff0e\uff0e\uff0fx",
)
ODD = "my $(touch pwned7) `touch pwned8`;touch pwned9 'q' {x} %s data"


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A home of its own, so that what is written there is seen."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
            patch.setenv(name, str(folder))
        patch.setenv("SENMEI_DEID_KEY", "a key for tests")
        patch.setenv("MPLCONFIGDIR", str(folder / "matplotlib"))
        yield folder


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def outside(folder: Path, run: Path) -> list[Path]:
    """What lies in `folder`, but neither in the run's results nor in what Snakemake keeps beside them."""
    own = (run / "results", run / ".snakemake", run / "test.yaml")
    return sorted(
        p for p in everything(folder) if p != run and not any(p == o or o in p.parents for o in own)
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path], str]:
    """One whole run over names and cells that would like to be paths, commands, placeholders or markup."""
    folder = tmp_path_factory.mktemp("hostile")
    root = write_dataset(folder / ODD / "bids", ("01",))
    for seed, name in enumerate(NAMES):
        write_subject(root, name, seed=seed)
    (folder / "elsewhere").mkdir()
    secret = write_subject(folder / "elsewhere", "07")
    (root / "sub-link").symlink_to(folder / "elsewhere" / "sub-07")
    (root / "sub-01" / "anat" / "sub-01_run-2_T1w.nii.gz").symlink_to(secret)
    lines = [f"sub-{name}\t{cell}\t{cell}" for name, cell in zip(("01", *CELLS), CELLS, strict=False)]
    table = "participant_id\tgroup\tnote\n" + "\n".join(lines) + "\n"
    (root / "participants.tsv").write_text(table, encoding="utf-8")
    (root / "dataset_description.json").write_text('{"Name": "<script>alert(7)</script>"}')
    run = folder / "a run 'of' $(touch pwned10) mine"
    run.mkdir()
    before = everything(folder)
    overlay = config(root)
    study = overlay["studies"]["mri_denoise"]
    study["cohorts"]["Mine-2_-x"] = study["cohorts"].pop("mine")
    study["methods"]["g-_-"] = {**study["methods"]["gaussian"], "use": "gaussian"}
    study["methods"]["gaussian"] = None
    study["report"] = {"title": "<script>alert(7)</script> $(touch pwned11)"}
    text = snakemake(run, "-c2", "--quiet=rules", "report", config=overlay)
    new = [path for path in outside(folder, run) if path not in before]
    return run, new, text


def test_a_hostile_run_makes_nothing_outside_its_results(
    hostile: tuple[Path, list[Path], str], home: Path
) -> None:
    run, new, _ = hostile
    assert new == []
    made = [*everything(run.parent), *everything(home), *ROOT.iterdir(), *Path.cwd().iterdir()]
    assert not [path for path in made if re.fullmatch(r"pwned\d+.*|.*escaped", path.name)]
    for path in everything(run / "results"):
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", path.name), path
        assert not path.is_symlink()


def test_every_hostile_subject_is_carried_to_the_measures(hostile: tuple[Path, list[Path], str]) -> None:
    run, _, _ = hostile
    folder = run / "results" / "bad" / "mri_denoise"
    expected = {f"sub-{safe_label(name)}" for name in ("01", *NAMES)}
    rows = read_tsv(folder / "measures.tsv")
    assert {row["subject"] for row in rows if row["method"] == "g-_-"} == expected
    told = [row["error"] for row in read_tsv(folder / "status.tsv") if row["status"] == "failed"]
    assert len(told) == 2
    assert all("a link that leaves the dataset" in error for error in told)
    assert not [path for path in everything(folder) if "07" in path.name]


def test_no_hostile_text_is_markup_in_a_page(hostile: tuple[Path, list[Path], str]) -> None:
    run, _, _ = hostile
    pages = list((run / "results").rglob("*.html"))
    assert len(pages) >= 2
    for page in pages:
        assert "<script>alert(7)" not in page.read_text(encoding="utf-8"), page


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a slash", "run: ../escaped\nstudies: {mri_denoise: {}}\n"),
        ("a root", "run: /tmp/escaped\nstudies: {mri_denoise: {}}\n"),
        (
            "a suffix",
            "run: x\nstudies: {mri_denoise: {cohorts: {m: {use: test, source: bids, path: /, suffix: ../x}}}}\n",
        ),
        ("a tag", "run: !!python/object/apply:os.mkdir [escaped]\nstudies: {mri_denoise: {}}\n"),
    ],
)
def test_a_configuration_that_would_leave_its_folder_is_refused(
    name: str, content: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "test.yaml").write_text(content)
    text = snakemake(run, "-n", "report", ok=False)
    assert ("not valid JSON or YAML" in text) if name == "a tag" else ("  fix:   " in text)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert {path.name for path in run.iterdir()} <= {"test.yaml", ".snakemake"}
    assert not Path("escaped").exists()


# --- identities ---

PLANTED = {
    "PatientName": "Quixotic^Zebulon",
    "PatientID": "MRN7734211",
    "PatientBirthDate": "19530417",
    "PatientBirthTime": "042137",
    "OtherPatientIDs": "ALT5521987",
    "OtherPatientNames": "Rosinante^Dulcinea",
    "PatientMotherBirthName": "Thistlewood",
    "PatientAddress": "Wisteria Lane 9",
    "PatientTelephoneNumbers": "5550199",
    "PatientComments": "keeps bees",
    "AdditionalPatientHistory": "stung by wasps",
    "AccessionNumber": "ACC991827",
    "InstitutionName": "Xanadu Hospital",
    "InstitutionAddress": "Kublai Street",
    "InstitutionalDepartmentName": "Orchidarium",
    "ReferringPhysicianName": "Featherstonehaugh^M",
    "PerformingPhysicianName": "Marjoribanks^P",
    "OperatorsName": "Cholmondeley",
    "RequestingPhysician": "Beauchamp^L",
    "StationName": "BRINDLE42",
    "DeviceSerialNumber": "SN8675309",
    "StudyDate": "20190203",
    "SeriesDate": "20190203",
    "AcquisitionDate": "20190203",
    "ContentDate": "20190203",
    "StudyTime": "131415.000000",
    "AcquisitionTime": "131617.000000",
    "StudyID": "STD44120",
    "FrameOfReferenceUID": "1.2.840.99999.7734.3",
    "ImageComments": "keeps wasps",
    "StudyDescription": "for Quixotic",
    "ProtocolName": "Zebulon protocol",
    "SeriesDescription": "T1 Zebulon MRN7734211 19530417 QUIXOTIC",
    "SequenceName": "zebulon",
    "ScanOptions": "QUIXOTIC",
    "SoftwareVersions": "built for Xanadu",
    "RequestedProcedureDescription": "Quixotic head",
}
UIDS = "1.2.840.99999.7734"
SECRETS = """
    quixotic zebulon 7734211 19530417 1953-04-17 1953.04.17 17.04.1953 042137 alt5521987 5521987 rosinante dulcinea
    thistlewood wisteria 5550199 bees wasps acc991827 991827 xanadu kublai orchidarium featherstonehaugh marjoribanks
    cholmondeley beauchamp brindle42 8675309 20190203 2019-02-03 131415 13:14:15 131617 13:16:17 std44120 1.2.840
    99999.7734 privateer
""".split()


def plant(folder: Path) -> Path:
    """Series with identities in every tag that has room, in private tags, and in folder and file names."""
    import pydicom

    place = folder / "Quixotic Zebulon" / "MRN7734211 19530417"
    for number in (1, 2):
        for path in write_series(folder / f"made{number}", number=number, slices=16, size=(40, 36)):
            data = pydicom.dcmread(path)
            for name, value in PLANTED.items():
                setattr(data, name, value)
            data.StudyInstanceUID = f"{UIDS}.1"
            data.SeriesInstanceUID = f"{UIDS}.2.{number}"
            data.SOPInstanceUID = f"{UIDS}.9.{number}.{data.InstanceNumber}"
            data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
            block = data.private_block(0x0029, "PRIVATEER CSA", create=True)
            block.add_new(0x10, "LO", "Quixotic Zebulon privateer")
            block.add_new(0x11, "OB", b"MRN7734211 19530417 privateer ")
            data.private_block(0x0051, "SIEMENS MR HEADER", create=True).add_new(0x0F, "LO", "QUIXOTIC")
            made = place / f"Zebulon_{data.SOPInstanceUID}.dcm"
            made.parent.mkdir(parents=True, exist_ok=True)
            data.save_as(made)
    (place / "notes.Quixotic").write_text("MRN7734211 was here")
    (place / f"{UIDS}.77").write_text("a file named by its UID")
    damaged = (place / f"Zebulon_{UIDS}.9.1.1.dcm").read_bytes()
    (place / "Zebulon damaged.dcm").write_bytes(damaged[:400])
    short = pydicom.dcmread(place / f"Zebulon_{UIDS}.9.2.1.dcm")
    short.SeriesInstanceUID, short.SeriesNumber, short.SOPInstanceUID = f"{UIDS}.2.3", 3, f"{UIDS}.9.3"
    short.Modality = "QUIXOTIC"
    short.save_as(place / "Quixotic odd.dcm")
    return folder / "Quixotic Zebulon"


def layers(content: bytes) -> list[bytes]:
    """A file's bytes; what they inflate to, if they are gzip; the images within a page."""
    found = [content]
    if content[:2] == b"\x1f\x8b":
        found += layers(gzip.decompress(content))
    for image in re.findall(rb"base64,([A-Za-z0-9+/=]+)", content):
        found += layers(base64.b64decode(image))
    assert not (content[:4] == b"\x89PNG" and (b"zTXt" in content or b"iTXt" in content)), "packed text"
    return found


def test_the_search_for_identities_would_find_them() -> None:
    plain = b"... Quixotic ..."
    page = b"<img src='data:image/png;base64," + base64.b64encode(gzip.compress(plain)) + b"'>"
    for content in (plain, gzip.compress(plain), page, gzip.compress(page)):
        assert any(b"Quixotic" in body for body in layers(content))


def _installed() -> bool:
    try:
        return bool(find_dcm2niix())
    except EngineError:
        return False


@pytest.mark.skipif(not _installed(), reason="dcm2niix is not installed")
def test_no_output_of_a_whole_run_carries_an_identity(tmp_path: Path, home: Path) -> None:
    source = plant(tmp_path / "in")
    run = tmp_path / "run"
    run.mkdir()
    text = snakemake(run, "-c2", "--quiet=rules", "report", config=config(source, "dicom", series="T1"))
    folder = run / "results" / "bad" / "mri_denoise"
    rows = read_tsv(folder / "measures.tsv")
    assert len({row["scan"] for row in rows}) == 2, "both series came through"
    assert any(
        row["status"] == "left" for row in read_tsv(folder / "cohorts" / "mine" / "bids" / "taken.tsv")
    )
    outputs = [path for path in sorted((run / "results").rglob("*")) if path.is_file()]
    assert len(outputs) > 30
    assert sum(path.name.endswith(".nii.gz") for path in outputs) >= 6
    assert any(path.suffix == ".html" for path in outputs) and any(path.suffix == ".log" for path in outputs)
    found = []
    for path in outputs:
        bodies = [body.lower() for body in layers(path.read_bytes())]
        bodies = [
            body[:1000] if n and path.name.endswith(".nii.gz") else body for n, body in enumerate(bodies)
        ]
        name = str(path.relative_to(run)).lower()
        found += [(secret, name) for secret in SECRETS for body in bodies if secret.encode() in body]
        found += [(secret, "name of " + name) for secret in SECRETS if secret in name]
    assert found == []
    said = text.replace(str(source), "")  # the folder that the user typed is the user's
    assert [secret for secret in SECRETS if secret in said.lower()] == []
    kept = [
        path for place in (home, run / ".snakemake" / "log") for path in place.rglob("*") if path.is_file()
    ]
    for path in kept:
        content = path.read_bytes().replace(str(source).encode(), b"").lower()
        assert [secret for secret in SECRETS if secret.encode() in content] == [], path
