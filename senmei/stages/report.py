"""Specification of a study's report page: what its modules say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from senmei.core.fingerprint import class_constants
from senmei.core.seeds import short_hash


def report_spec(study: Any, settings: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The `spec` of `senmei.report.study.write_study_report`, from the study and its configuration; JSON-able."""
    from senmei.analyses import ANALYSES

    told = study.words(settings["cohorts"])
    sentences = [{"text": text, "references": list(references)} for text, references in told]
    for spec in settings["analyses"].values():
        constants = class_constants(ANALYSES.place(spec["use"]))
        if constants.get("sentence"):
            sentences.append(
                {
                    "text": constants["sentence"],
                    "references": list(constants.get("references", ())),
                    "measures": list(constants.get("MEASURES", ())),
                }
            )
    report = settings["report"]
    return {
        "title": report.get("title") or study.title,
        "run": run,
        "figure_scans": report.get("figure_scans", 2),
        "conditions": list(study.conditions),
        "primary": report.get("primary") or list(study.primary),
        "figures": dict(study.figures),
        **({"ablation": report["ablation"]} if report.get("ablation") else {}),
        "sentences": sentences,
    }


def templates_hash() -> str:
    """Hash of the page templates, which fingerprints of code do not see."""
    folder = Path(__file__).parents[1] / "report" / "templates"
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return short_hash(*(part for path in files for part in (path.name, path.read_text(encoding="utf-8"))))
