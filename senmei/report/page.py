"""Templates to one self-contained page: styles inline, everything escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import senmei
from senmei.report.numbers import number

CITATION = "The Senmei developers. Senmei: medical image restoration as a workflow. Version {version}."


def render(template: str, **context: Any) -> str:
    """The page of a template in senmei/report/templates; every value is escaped, an unknown name is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    version = senmei.__version__
    return environment.get_template(template).render(
        version=version, citation=CITATION.format(version=version), **context
    )
