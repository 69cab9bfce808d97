"""Analyse all restored test scans of a cohort together."""

from senmei.core.jobs import job
from senmei.stages.measure import analyse_cohort

with job(snakemake) as j:  # noqa: F821
    analyse_cohort(
        j.input.restored,
        j.input.prepared,
        j.output.table,
        j.params.analysis,
        j.settings("settings"),
        log=j.log,
    )
