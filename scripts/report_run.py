"""Write the cohort report of the run."""

from pathlib import Path

from senmei.core.jobs import job
from senmei.report.cohort import write_index

with job(snakemake) as j:  # noqa: F821
    page = Path(j.output.page)
    write_index(page.parent.parent, list(j.params.studies), page, config=j.settings("config"))
