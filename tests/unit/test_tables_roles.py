"""Tables and roles on disk: what goes in comes out, and what is not what it should be is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from senmei.core.errors import ConfigError, DataError, EngineError, SenmeiError, nearest
from senmei.core.volume import Volume
from senmei.io.atomic import sha256
from senmei.io.roles import load_role, save_role
from senmei.io.table_schemas import SCHEMA, check_table, near_misses, table_schema
from senmei.io.tables import format_value, parse_value, read_tsv, write_tsv

# ---- tables ----


def test_round_trip(tmp_path: Path) -> None:
    rows = [
        {
            "scan": "sub-01",
            "noise": 9.5,
            "n": 3,
            "id": "007",
            "gone": None,
            "said": 'a "quoted" word',
            "e": 1e-7,
        },
        {
            "scan": "sub-02",
            "noise": -1.25,
            "n": -4,
            "id": "1e5",
            "gone": "x",
            "said": "Zoë <script>",
            "e": 1e20,
        },
    ]
    write_tsv(tmp_path / "t.tsv", rows, ("id", "scan"))
    assert read_tsv(tmp_path / "t.tsv") == rows
    head = (tmp_path / "t.tsv").read_text().splitlines()[0]
    assert head == "id\tscan\tnoise\tn\tgone\tsaid\te"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("007", "007"),
        ("7", 7),
        ("-7", -7),
        ("0.5", 0.5),
        ("n/a", None),
        ("", None),
        ("1e-05", 1e-5),
        ("1.5", 1.5),
        ("12e34", "12e34"),
        ("1e5", "1e5"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("1_000", "1_000"),
        ("٣", "٣"),
        (" 1", " 1"),
    ],
)
def test_what_a_cell_means(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_what_no_cell_can_hold_becomes_spaces() -> None:
    assert format_value("a\tb\r\nc") == "a b c"
    assert format_value(float("nan")) == "n/a"
    assert format_value(True) == "true"
    assert format_value(2 / 3) == "0.666666667"
    assert format_value("bad \udcff byte") == "bad \\udcff byte", "a file name that is no text"


CELL = st.one_of(
    st.none(),
    st.integers(-(10**12), 10**12),
    st.floats(-1e12, 1e12).map(lambda x: float(f"{x:.9g}")),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"a": CELL, "b": CELL}), max_size=5))
def test_whatever_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]) -> None:
    path = tmp_path_factory.mktemp("t") / "t.tsv"
    write_tsv(path, rows, ("a", "b"))
    expected = [{k: parse_value(format_value(v)) for k, v in row.items()} for row in rows]
    assert read_tsv(path) == expected
    write_tsv(path, expected, ("a", "b"))
    assert read_tsv(path) == expected, "a second round changes nothing"


def test_tables_of_others(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes("\ufeffparticipant_id\tage\r\nsub-01\t30\r\n\r\nsub-02\tn/a\r\n".encode())
    assert read_tsv(path) == [
        {"participant_id": "sub-01", "age": 30},
        {"participant_id": "sub-02", "age": None},
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"a\tb\n1\n", "line 2 has 1 cells, the header has 2"),
        (b"a\tb\n1\t2\n3\t4\t5\n", "line 3 has 3 cells"),
        (b"a\n\xff\xfe\n", "utf-8"),
        (None, "No such file"),
    ],
)
def test_a_broken_table_names_file_and_line(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "t.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="Cannot read table") as caught:
        read_tsv(path)
    assert caught.value.where == str(path)
    assert why in caught.value.why


# ---- schemas of tables ----

SCAN = {"scan": "sub-01_acq-x", "image": "sub-01", "subject": "sub-01", "split": "test", "shard": "sub-01"}


def test_every_column_is_described() -> None:
    import yaml

    tables = yaml.safe_load(SCHEMA.read_text())
    assert {"participants", "scans", "split", "status", "manifest", "measured", "measures"} <= set(tables)
    for kind, table in tables.items():
        assert table["description"], kind
        for name, column in table["columns"].items():
            assert len(column["description"]) > 4, f"{kind}.{name}"
            assert column.keys() <= {"description", "type", "values", "pattern", "required", "unique"}, (
                f"{kind}.{name}"
            )
            assert column.get("type", "text") in ("text", "number", "count")


def test_the_schemas_are_those_of_what_is_written() -> None:
    from senmei.stages import measure, shards

    assert tuple(table_schema("manifest")["columns"]) == shards.COLUMNS
    assert tuple(table_schema("measured")["columns"]) == measure.COLUMNS


def test_sound_tables_pass() -> None:
    check_table("scans", [SCAN, {**SCAN, "scan": "sub-01_acq-y", "noise": 9, "repeat": 2}], "scans.tsv")
    check_table("scans", [], "scans.tsv")
    check_table("participants", [{"subject": "sub-01", "age": "90+", "anything": 1}], "participants.tsv")


@pytest.mark.parametrize(
    ("kind", "rows", "why", "fix"),
    [
        ("scans", [{**SCAN, "split": "tset"}], "line 2: 'split' is 'tset', not one of train", "Split"),
        ("scans", [SCAN, SCAN], "lines 2 and 3 are both 'sub-01_acq-x'", "keep one"),
        ("scans", [{**SCAN, "shard": None}], "line 2 has no 'shard'", "Shard"),
        ("scans", [{**SCAN, "repeat": 1.5}], "'repeat' is '1.5', not a whole number", "count"),
        ("scans", [{**SCAN, "scan": "../x"}], "'scan' is '../x', not of the form", "BIDS stem"),
        (
            "scans",
            [{k if k != "subject" else "subjcet": v for k, v in SCAN.items()}],
            "no column 'subject'",
            "'subjcet' meant",
        ),
        ("participants", [{"subject": "sub-<script>"}], "not of the form", "letters and digits"),
        (
            "split",
            [{"subject": "sub-01", "split": "test", "splitt": 1}],
            "unknown column 'splitt'",
            "did you mean 'split'?",
        ),
        (
            "measures",
            [
                {
                    "study": "s",
                    "cohort": "c",
                    "method": "m",
                    "split": "test",
                    "measure": "psnr",
                    "value": "inf",
                }
            ],
            "'value' is 'inf', not a finite number",
            "unit",
        ),
    ],
)
def test_an_unsound_table_says_where_and_how(kind: str, rows: list[dict], why: str, fix: str) -> None:
    with pytest.raises(DataError, match=f"Cannot use this {kind} table") as caught:
        check_table(kind, rows, "the.tsv")
    assert caught.value.where == "the.tsv"
    assert why in caught.value.why
    assert fix in caught.value.fix


def test_near_misses() -> None:
    kind = "bids_participants"
    assert near_misses(kind, ["particpant_id", "age"]) == [("particpant_id", "participant_id")]
    assert near_misses(kind, ["participant_id", "Age"]) == [("Age", "age")]
    assert near_misses(kind, ["participant_id", "age", "aged", "handedness", "height"]) == []


def test_a_mistyped_participants_table(tmp_path: Path) -> None:
    from senmei.io.bids import list_bids
    from tests.corpus.make import write_dataset

    root = write_dataset(tmp_path / "ds")
    table = root / "participants.tsv"
    table.write_text("particpant_id\tage\nsub-01\t30\nsub-02\t31\n")
    with pytest.raises(DataError, match="Cannot use participants") as caught:
        list_bids(root)
    assert caught.value.where == str(table)
    assert caught.value.fix == "rename the column 'particpant_id' to 'participant_id'"
    table.write_text("participant_id\tgruop\nsub-01\ta\nsub-02\tb\n")
    participants, images, status = list_bids(root)
    assert len(images) == 2
    assert participants[0] == {"subject": "sub-01", "gruop": "a"}
    assert [row["error"] for row in status] == [
        "participants.tsv has a column 'gruop': did you mean 'group'?"
    ]
    assert status[0]["status"] == "remark"


# ---- roles ----

VOLUME = Volume(np.random.default_rng(0).random((5, 6, 7), dtype=np.float32), np.diag([2.0, 2, 3, 1]))


def test_volumes_arrays_and_rows_come_back(tmp_path: Path) -> None:
    path = save_role(tmp_path / "a_input", VOLUME)
    assert path.name == "a_input.nii.gz"
    back = load_role(path, expected=sha256(path))
    assert np.array_equal(back.data, VOLUME.data)
    assert np.allclose(back.affine, VOLUME.affine)

    labels = VOLUME.like((VOLUME.data * 5).astype(np.uint8))
    back = load_role(save_role(tmp_path / "a_labels", labels))
    assert back.data.dtype == np.uint8
    assert np.array_equal(back.data, labels.data)

    kspace = (np.ones((2, 3, 4)) * (1 + 2j)).astype(np.complex64)
    path = save_role(tmp_path / "a_kspace", kspace)
    assert path.suffix == ".h5"
    back = load_role(path)
    assert back.dtype == np.complex64
    assert np.array_equal(back, kspace)

    row = {"age": 30, "sex": "F", "risk": 0.25}
    path = save_role(tmp_path / "a_row", row)
    assert path.suffix == ".json"
    assert load_role(path) == row


@pytest.mark.parametrize(
    "value", [VOLUME, np.arange(12.0).reshape(3, 4), {"b": 1, "a": 2}], ids=["nii", "h5", "json"]
)
def test_the_same_value_gives_the_same_bytes(tmp_path: Path, value: Any) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    assert sha256(save_role(tmp_path / "one" / "x", value)) == sha256(
        save_role(tmp_path / "two" / "x", value)
    )


def test_a_damaged_or_missing_file_is_never_used(tmp_path: Path) -> None:
    path = save_role(tmp_path / "x", VOLUME)
    digest = sha256(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x99")
    with pytest.raises(DataError, match="has changed since it was made") as caught:
        load_role(path, expected=digest)
    assert caught.value.where == str(path)
    path.unlink()
    with pytest.raises(DataError, match="File is missing"):
        load_role(path, expected=digest)


def test_a_value_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot save a role") as caught:
        save_role(tmp_path / "x", [1, 2])
    assert "its value is a list" in caught.value.why
    assert list(tmp_path.iterdir()) == []


# ---- errors ----


@pytest.mark.parametrize("kind", [DataError, ConfigError, EngineError])
def test_an_error_is_four_lines_and_survives_a_process_boundary(kind: type[SenmeiError]) -> None:
    error = kind("It broke", where=Path("/a/b"), why="it was old", fix="buy another")
    assert str(error) == "It broke\n  where: /a/b\n  why:   it was old\n  fix:   buy another"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)


def test_the_nearest_name() -> None:
    assert nearest("gausian", ["nlm3d", "gaussian"]) == "did you mean 'gaussian'?"
    assert nearest("zzz", ["b", "a"]) == "valid: a, b"
    assert nearest("zzz", []) == "valid: (none)"
