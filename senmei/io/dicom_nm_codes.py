"""Nuclides, agents, collimators and positions of nuclear-medicine DICOM: codes to Senmei's names and back.

By allowlist: nothing that a file says passes unless it is one of the names below, so that free text of a clinic
("Tc99m MIBI, Mrs ...") cannot carry a person along. Codes are SNOMED CT (scheme SCT) as in the context groups of
DICOM PS3.16, CID 18 (nuclides), 25 (agents), 26 (views), 19-21 (patient); the older SNOMED-RT codes of
the same concepts (scheme SRT, SNM3 or 99SDM) stand in many files and are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Code(NamedTuple):
    """One concept: its name here, SNOMED CT value and meaning, SNOMED-RT value ("" if none is known)."""

    name: str
    value: str
    meaning: str
    old: str = ""


def _table(rows: Iterable[tuple[str, ...]]) -> dict[str, Code]:
    return {row[0]: Code(*row) for row in rows}


# The SNOMED-RT values are those of pydicom's table of retired codes; only read, never written.
NUCLIDES = _table(
    [
        ("Tc-99m", "72454006", "^99m^Technetium", "C-163A8"),
        ("I-123", "21572004", "^123^Iodine", "C-114A4"),
        ("I-131", "1368003", "^131^Iodine", "C-114B1"),
        ("In-111", "56609000", "^111^Indium", "C-145A4"),
        ("Tl-201", "60057003", "^201^Thallium", "C-138A9"),
        ("Ga-67", "2008008", "^67^Gallium", "C-131A2"),
        ("Lu-177", "447553000", "^177^Lutetium", "C-101ED"),
        ("Sm-153", "419804008", "^153^Samarium", "C-B1134"),
        ("Xe-133", "80751004", "^133^Xenon", "C-172A8"),
        ("Kr-81m", "61716009", "^81m^Krypton", "C-173A5"),
        ("Co-57", "27054007", "^57^Cobalt", "C-144A3"),
        ("Gd-153", "14529005", "^153^Gadolinium", "C-178A8"),
        ("Y-90", "14691008", "^90^Yttrium", "C-162A7"),
        ("Ra-223", "24853006", "^223^Radium", "C-136A2"),
    ]
)
AGENTS = _table(
    [
        ("sestamibi", "424299003", "Technetium Tc^99m^ sestamibi", "C-163AB"),
        ("tetrofosmin", "424118002", "Technetium Tc^99m^Tetrofosmin", "C-163AD"),
        ("medronate", "96390006", "Technetium Tc^99m^ medronate", "C-B1218"),
        ("oxidronate", "53951001", "Technetium Tc^99m^ oxidronate", "C-B1213"),
        ("pyrophosphate", "764821009", "Technetium Tc^99m^ pyrophosphate", ""),
        ("pertechnetate", "19495007", "Sodium pertechnetate Tc^99m^", "C-B1206"),
        ("exametazime", "77313009", "Technetium Tc^99m^ exametazime", "C-B1223"),
        ("bicisate", "766886003", "Technetium Tc^99m^ bicisate", ""),
        ("mertiatide", "446536001", "Technetium^99m Mercaptoacetyl triglycine MAG3", "C-163B8"),
        ("succimer", "24511001", "Technetium Tc^99m^ succimer", "C-B1221"),
        ("pentetate", "430276001", "Technetium Tc^99m^ pentetate", "C-163B0"),
        ("macroaggregated albumin", "85693008", "Technetium Tc^99m^ aggregated albumin", "C-B1200"),
        ("sulfur colloid", "5931004", "Technetium Tc^99m^ sulfur colloid", "C-B1222"),
        ("red cells", "89818005", "Technetium Tc^99m^ tagged red cells", "C-B1224"),
        ("ioflupane", "429296007", "Ioflupane I^123^", "C-B07EC"),
        ("iobenguane I-123", "395787009", "Iodine^123 3-Iodobenzylguanidine MIBG", "C-B110E"),
        ("iobenguane I-131", "395789007", "Iodine^131 3-Iodobenzylguanidine MIBG", "C-B112D"),
        ("sodium iodide I-123", "67690002", "Sodium iodide I^123^", "C-B1081"),
        ("sodium iodide I-131", "111160004", "Sodium iodide I^131^", "C-B1086"),
        ("pentetreotide", "446800006", "Indium^111 Pentetreotide", "C-145AA"),
        ("thallous chloride", "73685002", "Thallous chloride Tl^201^", "C-B1231"),
        ("gallium citrate", "73065000", "Gallium^67^ citrate", "C-B1041"),
        ("dotatate Lu-177", "781259000", "Lutetium^177^ DOTATATE", ""),
    ]
)
VIEWS = _table(
    [
        ("anterior", "399321004", "Anterior projection", "G-5215"),
        ("posterior", "399001007", "Posterior projection", "G-5216"),
    ]
)
RECUMBENT = Code("recumbent", "102538003", "recumbent", "F-10450")
SUPINE = Code("supine", "40199007", "supine", "F-10340")
PRONE = Code("prone", "1240000", "prone", "F-10310")
HEAD_FIRST = Code("head first", "102540008", "headfirst", "F-10470")
FEET_FIRST = Code("feet first", "102541007", "feet-first", "F-10480")

# Words of free text that name an agent. Longer ones first where one is part of another.
_AGENT_WORDS = {
    "sestamibi": "sestamibi",
    "mibi": "sestamibi",
    "cardiolite": "sestamibi",
    "tetrofosmin": "tetrofosmin",
    "myoview": "tetrofosmin",
    "medronate": "medronate",
    "mdp": "medronate",
    "oxidronate": "oxidronate",
    "hdp": "oxidronate",
    "hmdp": "oxidronate",
    "pyrophosphate": "pyrophosphate",
    "pyp": "pyrophosphate",
    "pertechnetate": "pertechnetate",
    "exametazime": "exametazime",
    "hmpao": "exametazime",
    "bicisate": "bicisate",
    "ecd": "bicisate",
    "mag3": "mertiatide",
    "mertiatide": "mertiatide",
    "dmsa": "succimer",
    "succimer": "succimer",
    "dtpa": "pentetate",
    "maa": "macroaggregated albumin",
    "ioflupane": "ioflupane",
    "datscan": "ioflupane",
    "pentetreotide": "pentetreotide",
    "octreoscan": "pentetreotide",
}
_NUCLIDE = re.compile(r"(?<![a-z0-9])([a-z]{1,2})[^a-z0-9]{0,3}(\d{2,3})[^a-z0-9]{0,3}(m?)(?![a-z0-9])")
_NUCLIDE_TURNED = re.compile(r"(?<![a-z0-9])[^a-z0-9]{0,3}(\d{2,3})[^a-z0-9]{0,3}(m?)[^a-z0-9]{0,3}([a-z]+)")
_ELEMENTS = {
    "technetium": "tc", "iodine": "i", "indium": "in", "thallium": "tl", "gallium": "ga", "lutetium": "lu",
    "samarium": "sm", "xenon": "xe", "krypton": "kr", "cobalt": "co", "gadolinium": "gd", "yttrium": "y",
    "radium": "ra",
}  # fmt: skip
_COLLIMATORS = (
    ("LEUR", r"LEUHR|LEUR|ULTRA\W?HIGH\W?RES\w*"),
    ("LEHR", r"LEHRS?|LOW\W?ENERGY\W?HIGH\W?RES\w*|LEHRH|LEPHR|VXHR|VXLEHR"),
    ("LEAP", r"LEAP|LEGP|LOW\W?ENERGY\W?(?:ALL|GENERAL)\W?PURPOSE|VXGP"),
    ("ME", r"ME|MEAP|MEGP|MELP|MEDIUM\W?ENERGY(?:\W\w+){0,2}"),
    ("HE", r"HE|HEAP|HEGP|HIGH\W?ENERGY(?:\W\w+){0,2}"),
)
_SCHEMES_NOW, _SCHEMES_OLD = ("SCT",), ("SRT", "SNM3", "99SDM")


def by_code(table: Mapping[str, Code], value: str, scheme: str) -> str:
    """The name in `table` of a coded concept; "" if the code is not there."""
    value, scheme = value.strip(), scheme.strip().upper()
    for code in table.values():
        if scheme in _SCHEMES_NOW and value == code.value:
            return code.name
        if scheme in _SCHEMES_OLD and code.old and value in (code.old, code.value):
            return code.name
    return ""


def nuclide_of(text: str) -> str:
    """The nuclide that a text names ('Tc99m MIBI', '^99m^Technetium', '99mTc'), as in NUCLIDES; "" if none."""
    known = {name.lower(): name for name in NUCLIDES}
    lowered = text[:256].lower()
    for word, symbol in _ELEMENTS.items():
        lowered = lowered.replace(word, symbol)
    for symbol, mass, meta in _NUCLIDE.findall(lowered):
        if name := known.get(f"{symbol}-{mass}{meta}"):
            return name
    for mass, meta, symbol in _NUCLIDE_TURNED.findall(lowered):
        for guess in (f"{symbol}-{mass}{meta}", f"{symbol[1:]}-{mass}m" if symbol.startswith("m") else ""):
            if name := known.get(guess):
                return name
    return ""


def agent_of(text: str) -> str:
    """The agent that a text names, as in AGENTS; "" if none."""
    lowered = text[:256].lower()
    words = re.split(r"[^a-z0-9]+", lowered)
    for word, name in _AGENT_WORDS.items():
        if word in words:
            return name
    if "iobenguane" in words or "mibg" in words:
        nuclide = nuclide_of(text)
        return f"iobenguane {nuclide}" if nuclide in ("I-123", "I-131") else ""
    return ""


def collimator_of(text: str) -> str:
    """One of LEHR, LEAP, LEUR, ME, HE if the name of a collimator says so; else ""."""
    upper = text[:64].upper()
    for name, pattern in _COLLIMATORS:
        if re.search(rf"(?<![A-Z0-9])(?:{pattern})(?![A-Z])", upper):
            return name
    return ""


_WINDOW_WORDS = frozenset(
    """
    peak photopeak main primary emission em em1 em2 scatter sc sc1 sc2 lower upper low high compton window win
    tc99m i123 i131 in111 tl201 ga67 lu177 tc i in tl ga lu kev
    """.split()
)


def window_name(text: str, number: int) -> str:
    """The name of an energy window if all its words are technical; else 'window N'."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", text[:64]) if word]
    sound = words and all(word.lower() in _WINDOW_WORDS or re.fullmatch(r"\d{1,3}m?", word) for word in words)
    return " ".join(text[:64].split()) if sound and re.fullmatch(r"[\w .()+-]+", text) else f"window {number}"
