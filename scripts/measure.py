"""Measure the restored scans of one shard."""

from senmei.core.jobs import job
from senmei.stages.measure import measure_shard

with job(snakemake) as j:  # noqa: F821
    measure_shard(
        j.settings("rows"),
        j.input.restored,
        j.input.prepared,
        j.output.table,
        j.settings("measures"),
        strict=j.params.strict,
        log=j.log,
    )
