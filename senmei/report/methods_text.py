"""The methods paragraph: what ran, in sentences with numbered references and versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from senmei.report.files import StudyFiles

CASES = {
    "phantom": "phantom, exact truth",
    "clean": "clean scan, noise added, the scan is the reference",
    "repeats": "repeats, leave-one-out against the mean of the others",
    "printed": "measured; the printed teacher is the reference",
    "none": "no reference: restored images and no-reference measures only",
}
SOURCES = {
    "simulate": "simulated",
    "bids": "BIDS dataset",
    "dicom": "DICOM folder",
    "sheets": "printed sheets",
    "dataset": "dataset of pairs",
    "interfile": "Interfile",
    "xcat": "XCAT",
    "ismrmrd": "ISMRMRD",
}


@dataclass
class MethodsText:
    """Paragraphs of sentences, each with the numbers of its references, and the references in that order."""

    paragraphs: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)
    references: list[str] = field(default_factory=list)

    def add(self, heading: str, sentences: Iterable[tuple[str, Iterable[str]]]) -> None:
        """A paragraph; references seen before keep their number, sentences said before are not repeated."""
        said: dict[str, list[int]] = {}
        for text, references in sentences:
            text = " ".join(str(text).split())
            if text:
                numbers = said.setdefault(text if text.endswith((".", "!", "?")) else f"{text}.", [])
                numbers += [n for n in map(self._number, references) if n not in numbers]
        if said:
            self.paragraphs.append((heading, [{"text": t, "numbers": sorted(n)} for t, n in said.items()]))

    def _number(self, reference: str) -> int:
        reference = " ".join(str(reference).split())
        known = [r.casefold().rstrip(".") for r in self.references]
        key = reference.casefold().rstrip(".")
        if key not in known:
            self.references.append(reference)
            return len(self.references)
        return known.index(key) + 1


def methods_text(files: StudyFiles, sentences: Iterable[Mapping[str, Any]]) -> MethodsText:
    """Scans, degradation and judging, methods, software: from cohort.json, the study's sentences and the cards.

    sentences : {"text", "references"} of the study, its degradation, measures and analyses; with "measures", it is only
    said where one of them was taken: an analysis that no scan met is no method.
    """
    text = MethodsText()
    text.add("Scans", [(_cohort_sentence(files, name), ()) for name in files.cohorts])
    taken = {h["measure"] for h in files.headlines}
    said = [s for s in sentences if not s.get("measures") or taken & set(s["measures"])]
    text.add("Degradation and judging", [(s.get("text", ""), s.get("references") or ()) for s in said])
    text.add("Methods", [pair for card in files.cards.values() for pair in _card_sentences(card)])
    versions = collect_versions(files)
    if versions:
        used = ", ".join(f"{package} {version}" for package, version in versions.items())
        text.add("Software", [(f"The methods were fitted with {used}", ())])
    intervals = "Intervals are 95 % bootstrap confidence intervals over subjects; differences are paired scan by scan."
    text.add("Statistics", [(intervals, ())])
    return text


def collect_versions(files: StudyFiles) -> dict[str, str]:
    """package -> version over all cards; several versions of one package are all named."""
    found: dict[str, set[str]] = {}
    for card in files.cards.values():
        for package, version in (card.get("versions") or {}).items():
            found.setdefault(str(package), set()).add(str(version))
    order = sorted(found, key=lambda package: (package != "senmei", package))
    return {package: " and ".join(sorted(found[package])) for package in order}


def split_counts(files: StudyFiles, cohort: str) -> dict[str, int]:
    """split -> number of subjects."""
    counts: dict[str, int] = {}
    for row in files.table(cohort, "split"):
        counts[str(row.get("split"))] = counts.get(str(row.get("split")), 0) + 1
    order = ("train", "validation", "test")
    return dict(sorted(counts.items(), key=lambda item: order.index(item[0]) if item[0] in order else 3))


def _cohort_sentence(files: StudyFiles, name: str) -> str:
    facts, counts = files.cohorts[name], split_counts(files, name)
    subjects, scans = sum(counts.values()), len(files.table(name, "scans"))
    kind = "simulated" if facts.get("synthetic") else "real"
    if facts.get("surrogate"):
        kind += f" ({facts['surrogate']})"
    use = "training and testing" if facts.get("use") == "train" else "testing only"
    splits = f" ({', '.join(f'{n} {split}' for split, n in counts.items())})" if len(counts) > 1 else ""
    many = (
        f"{subjects} subject{'' if subjects == 1 else 's'}{splits}, {scans} scan{'' if scans == 1 else 's'}"
    )
    note = " ".join(str(facts.get("note") or "").split())
    return f"Cohort “{name}” ({kind}; {use}): {many}. {note}".strip()


def _card_sentences(card: Mapping[str, Any]) -> list[tuple[str, Sequence[str]]]:
    """What the card says of itself, and for learned methods its size, data and why training stopped early."""
    found: list[tuple[str, Sequence[str]]] = [
        (str(card.get("sentence") or ""), list(card.get("references") or ()))
    ]
    name = str(card.get("title") or card.get("method"))
    if card.get("given"):
        made = ", ".join(map(str, card.get("given_differs") or ()))
        found.append((f"{name} was not fitted here: it is the model of an earlier run, as given", []))
        found.append((f"That run made the images of {name} otherwise ({made})" if made else "", []))
    if card.get("family") != "learned":
        return found
    data = [
        f"{n.get('train', 0)} training and {n.get('validation', 0)} validation scans of “{cohort}”"
        for cohort, n in (card.get("data") or {}).items()
    ]
    size = card.get("parameters")
    facts = [f"has {size:,} parameters"] if isinstance(size, int) else []
    facts += [f"was fitted on {', '.join(data)}"] if data else []
    facts += [f"stopped because {card['stopped']}"] if card.get("stopped") else []
    return [*found, (f"{name} {' and '.join(facts)}", [])] if facts else found
