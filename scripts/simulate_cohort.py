"""Write the tables of a simulated cohort."""

from pathlib import Path

from senmei.core.jobs import job
from senmei.stages.cohort import simulate_cohort
from senmei.studies import STUDIES

with job(snakemake) as j:  # noqa: F821
    simulate_cohort(
        Path(j.output.scans).parent,
        STUDIES.get(j.params.study)(),
        j.wildcards.cohort,
        j.settings("cohort"),
        j.settings("degradation"),
        j.params.shards,
    )
