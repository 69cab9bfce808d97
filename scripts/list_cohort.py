"""List a cohort from files and write its tables."""

from pathlib import Path

from senmei.core.jobs import job
from senmei.stages.cohort import list_cohort
from senmei.studies import STUDIES

with job(snakemake) as j:  # noqa: F821
    list_cohort(
        Path(j.output.scans).parent,
        STUDIES.get(j.params.study)(),
        j.settings("cohort"),
        j.settings("degradation"),
        j.params.shards,
        seed=j.params.seed,
        strict=j.params.strict,
        log=j.log,
    )
