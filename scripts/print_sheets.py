"""Write the pages of a cohort to be printed, and the plan of the day."""

from pathlib import Path

from senmei.core.jobs import job
from senmei.stages.laboratory import print_cohort
from senmei.studies import STUDIES

with job(snakemake) as j:  # noqa: F821
    print_cohort(
        Path(j.output.pages).parent,
        STUDIES.get(j.params.study)(),
        j.settings("cohort"),
        j.log,
    )
