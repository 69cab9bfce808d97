"""Names for files that cannot leave their folder, whatever the data called themselves."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_PLAIN = re.compile(r"[A-Za-z0-9]{1,64}")


def safe_label(name: str) -> str:
    """A BIDS label (ASCII letters and digits only) for any text.

    Plain alphanumerics of up to 64 characters stay as they are. Anything else keeps what letters and digits
    it has (at most 24) and gets 'x' and 48 bits of its SHA-256, so that 'a b', 'a/b' and 'ab' stay apart.
    The same text always gives the same label; a label given back in stays itself.
    """
    name = str(name)
    if _PLAIN.fullmatch(name):
        return name
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^A-Za-z0-9]", "", ascii_only)[:24]
    return f"{kept}x{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def stem(subject: str, session: object = None, run: object = None, acq: object = None, **more: object) -> str:
    """The name of a scan: stem('003', 1, 2, 'noise09') -> 'sub-003_ses-1_run-2_acq-noise09'.

    Values are labels already (see `safe_label`); None leaves an entity out. `subject` may carry its 'sub-'.
    Raises ValueError for anything else, so that no path can be built from it.
    """
    entities = {"sub": str(subject).removeprefix("sub-"), "ses": session, "run": run, "acq": acq, **more}
    parts = {key: str(value) for key, value in entities.items() if value is not None}
    for key, value in parts.items():
        if not (_PLAIN.fullmatch(key) and _PLAIN.fullmatch(value)):
            raise ValueError(f"'{key}-{value}' is no BIDS entity: only ASCII letters and digits")
    return "_".join(f"{key}-{value}" for key, value in parts.items())
