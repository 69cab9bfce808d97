"""Write the page of one study."""

from pathlib import Path

from senmei.core.jobs import job
from senmei.report.study import write_study_report

with job(snakemake) as j:  # noqa: F821
    write_study_report(Path(j.input.measures).parent, Path(j.output.page), j.settings("spec"))
