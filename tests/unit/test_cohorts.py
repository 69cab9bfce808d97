"""Splits and shards: by subject, stable under additions, never mixed; seeds that stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from senmei.core.cohorts import SPLITS, assign_shards, assign_splits, check_splits, rows_hash, with_entity
from senmei.core.errors import DataError
from senmei.core.seeds import derive_seed, draw_generator, short_hash, unit_interval

THIRDS = {"train": 0.5, "validation": 0.25, "test": 0.25}
NAMES = [f"sub-{i:03d}" for i in range(1, 201)]


@pytest.mark.parametrize("ordered", [True, False])
def test_nobody_moves_when_a_subject_is_added(ordered: bool) -> None:
    for count in (4, 5, 17, 199):
        few = assign_splits(NAMES[:count], THIRDS, ordered=ordered)
        more = assign_splits(NAMES[: count + 1], THIRDS, ordered=ordered)
        assert {name: more[name] for name in few} == few


def test_names_alone_decide_where_names_do() -> None:
    shuffled = list(reversed(NAMES))
    assert assign_splits(shuffled, THIRDS, ordered=False) == assign_splits(NAMES, THIRDS, ordered=False)


@given(st.integers(4, 60), st.sampled_from([THIRDS, {"train": 0.8, "test": 0.2}, {"train": 1.0}]))
def test_ordered_shares_hold_at_every_length(count: int, fractions: dict[str, float]) -> None:
    splits = list(assign_splits(NAMES[:count], fractions, ordered=True).values())
    for split in SPLITS:
        assert abs(splits.count(split) - fractions.get(split, 0) * count) < 1.01


def test_shares_hold_about_where_names_decide() -> None:
    splits = list(assign_splits(NAMES, THIRDS, ordered=False).values())
    assert abs(splits.count("train") / len(NAMES) - 0.5) < 0.1
    assert abs(splits.count("test") / len(NAMES) - 0.25) < 0.1


@pytest.mark.parametrize(("count", "need"), [(1, 4), (2, 4)])
def test_too_small_a_cohort_says_how_many_it_needs(count: int, need: int) -> None:
    splits = assign_splits(NAMES[:count], THIRDS, ordered=True)
    with pytest.raises(DataError) as caught:
        check_splits(splits, THIRDS, "cohort 'mine'")
    text = str(caught.value)
    assert text.splitlines()[0] == "Training cohort is too small to split"
    assert "where: cohort 'mine'" in text
    assert f"{count} subject(s) leave no one for: " in text
    assert f"give it at least {need} subjects" in text
    assert "`use: test`" in text
    check_splits(assign_splits(NAMES[:need], THIRDS, ordered=True), THIRDS, "")


def test_how_many_it_needs_is_enough_where_names_decide() -> None:
    """Unlucky names may leave a split empty at any size; the advice grows with the cohort."""
    unlucky = [name for name in NAMES if unit_interval("split", name) < 0.5][:10]
    splits = assign_splits(unlucky, THIRDS, ordered=False)
    with pytest.raises(DataError) as caught:
        check_splits(splits, THIRDS, "cohort 'mine'")
    assert "at least 20 subjects" in caught.value.fix


def test_splits_that_are_not_asked_for_may_be_empty() -> None:
    check_splits({"sub-1": "train"}, {"train": 1.0, "validation": 0, "test": 0}, "")


def rows(ordered: bool = False) -> list[dict]:
    splits = assign_splits(NAMES, THIRDS, ordered=ordered)
    return [{"scan": f"{n}_acq-{k}", "subject": n, "split": splits[n]} for n in NAMES for k in "ab"]


@pytest.mark.parametrize("shards", ["subject", 1, 5, 125])
def test_a_shard_never_mixes_splits_and_a_subject_is_in_one(shards: str | int) -> None:
    place = assign_shards(rows(), shards)
    assert set(place) == set(NAMES)
    split: dict[str, set[str]] = {}
    for row in rows():
        split.setdefault(place[row["subject"]], set()).add(row["split"])
    assert all(len(found) == 1 for found in split.values())
    if isinstance(shards, int):
        assert len(split) <= 3 * shards


def test_shards_are_stable_under_additions() -> None:
    few = assign_shards(rows()[:100], 7)
    more = assign_shards(rows(), 7)
    assert {name: more[name] for name in few} == few


def test_rows_hash() -> None:
    some = rows()[:4]
    assert rows_hash(some) == rows_hash([dict(reversed(row.items())) for row in some]), "order of columns"
    assert rows_hash(some) != rows_hash(some[:3])
    assert rows_hash(some) != rows_hash([{**some[0], "noise": 9}, *some[1:]])


def test_an_entity_stands_once() -> None:
    assert with_entity("sub-01", "acq", "x") == "sub-01_acq-x"
    assert with_entity("sub-01_acq-mprage_run-2", "acq", "x") == "sub-01_acq-mpragex_run-2"


def test_seeds_stay() -> None:
    """Numbers written down: another version of anything must give the same."""
    assert derive_seed(20261121, "noise", "sub-001") == 1147837987
    assert short_hash("a", 1) == "839e11a421d370be"
    assert derive_seed(1, "a", "b") != derive_seed(1, "ab")
    assert derive_seed(1, "a") != derive_seed(2, "a")
    assert draw_generator(1, "a").integers(1 << 30) == draw_generator(1, "a").integers(1 << 30)
    assert all(0 <= unit_interval(name) < 1 for name in NAMES)
