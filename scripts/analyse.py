"""Analyse the restored scans of one shard."""

from senmei.core.jobs import job
from senmei.stages.measure import analyse_shard

with job(snakemake) as j:  # noqa: F821
    analyse_shard(
        j.settings("rows"),
        j.input.restored,
        j.input.prepared,
        j.output.table,
        j.params.analysis,
        j.settings("settings"),
        strict=j.params.strict,
        log=j.log,
    )
