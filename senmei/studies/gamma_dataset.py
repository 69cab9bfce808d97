"""Pairs of the study `gamma_sr` to hand on: which roles and columns of a scan go along, and whose teacher it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from senmei.core.errors import ConfigError
from senmei.core.example import Example
from senmei.lab.dataset import About, DatasetWriter
from senmei.lab.dataset_pair import ROLES, Pair, is_synthetic
from senmei.lab.dataset_readme import NOT_KNOWN

_LARGEST = 1 << 20  # bytes of a licence


class GammaWriter:
    """Writes the pairs of a cohort; see `writer`."""

    def __init__(self, folder: Path, options: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self.options, self.facts = options, facts
        about = About(
            name=str(options.get("name") or f"Paper phantoms: {facts['cohort']}"),
            licence=str(options["licence"]),
            authors=tuple(options.get("authors") or ()),
            text=_text(options.get("licence_file")),
            made=facts["made"],
            acknowledge=str(options.get("acknowledge") or ""),
            dicom=bool(options.get("dicom", True)),
        )
        self.pairs = DatasetWriter(folder, about)

    def add(self, example: Example, raw: Mapping[str, Callable[[], Any]]) -> dict[str, tuple[str, str]]:
        """role -> (place in the folder, SHA-256) of one scan's files. Raises DataError for what is no pair."""
        roles = {role: example[role] for role in example.roles if role in ROLES}
        return self.pairs.add(Pair(str(example.scan["scan"]), self._columns(example.scan), roles))

    def close(self, participants: Sequence[Mapping[str, Any]]) -> None:
        """Tables, texts and checksums. Raises DataError where no scan was a pair."""
        self.pairs.close(participants)

    def _columns(self, scan: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of a scan; what an earlier dataset told of it stays."""
        told = dict(scan)
        if is_synthetic(told) is None:
            told["synthetic"] = bool(self.facts.get("synthetic"))
        if told.get("pairing") is None:
            told["pairing"] = self._pairing(bool(is_synthetic(told)))
        degradation = self.facts["degradation"]
        if told.get("restore") is None:
            told["restore"] = degradation.get("restore", "teacher")
            if told["restore"] == "collimator":
                told["reference_collimator"] = degradation["high"]["collimator"]
        told["source_image"] = told.get("source_image") or scan["image"]
        source, licence = self._source(str(told.get("teacher") or ""))
        told["teacher_source"] = told.get("teacher_source") or source
        told["teacher_licence"] = told.get("teacher_licence") or licence
        return told

    def _pairing(self, synthetic: bool) -> str:
        way = str(self.facts["degradation"]["pairing"])
        return ("known" if synthetic else "monotone") if way == "auto" else way

    def _source(self, name: str) -> tuple[str, str]:
        """Source and licence of a teacher: what comes with us tells its own, of others the user may tell."""
        from senmei.phantoms.teachers import teachers

        for teacher in teachers():
            if teacher.name == name:
                return teacher.source, teacher.licence or NOT_KNOWN
        told = (self.options.get(key) for key in ("teacher_source", "teacher_licence"))
        source, licence = (str(value or NOT_KNOWN) for value in told)
        return source, licence


def writer(folder: Path, options: Mapping[str, Any], facts: Mapping[str, Any]) -> GammaWriter:
    """What writes a cohort's pairs, see `Study.dataset_module`. Raises ConfigError without a licence to be read."""
    return GammaWriter(folder, options, facts)


def _text(path: str | None) -> str:
    if not path:
        return ""
    try:
        content = Path(path).read_bytes()[: _LARGEST + 1]
        if len(content) > _LARGEST:
            raise ValueError("it is larger than any licence")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        fix = "give a text file (UTF-8) with the licence"
        raise ConfigError(
            "Cannot read the licence", where=f"dataset.licence_file: {path}", why=why, fix=fix
        ) from error
