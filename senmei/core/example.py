"""What a scan becomes for learning, measuring and analysing: named roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from senmei.core.errors import DataError


class Example:
    """One scan and its roles (`input`, `reference`, `mask`, `labels`, `kspace`, ...), loaded when first asked for.

    scan : the row of scans.tsv: `scan`, `subject`, `split`, the condition columns.
    roles : name -> value, or name -> function without arguments that loads the value
        (Volume for images, complex ndarray for k-space, dict for a table row).
    """

    def __init__(self, scan: Mapping[str, Any], roles: Mapping[str, Any]) -> None:
        self.scan = dict(scan)
        self._roles: dict[str, Any] = dict(roles)

    def __contains__(self, role: str) -> bool:
        return role in self._roles

    def __getitem__(self, role: str) -> Any:
        if role not in self._roles:
            raise DataError(
                f"Example has no role '{role}'",
                where=self.scan.get("scan", "?"),
                why=f"its roles are: {', '.join(sorted(self._roles)) or 'none'}",
                fix="check the study's role groups and what the method or measure needs",
            )
        value: Any = self._roles[role]
        if callable(value):
            value = self._roles[role] = value()
        return value

    @property
    def roles(self) -> tuple[str, ...]:
        """The names of the roles this example has."""
        return tuple(sorted(self._roles))
