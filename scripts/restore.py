"""Restore the scans of one shard with one method."""

from senmei.core.jobs import job
from senmei.stages.restore import restore_shard

with job(snakemake) as j:  # noqa: F821
    restore_shard(
        j.settings("rows"),
        j.input.prepared,
        j.input.weights,
        j.input.card,
        j.output.manifest,
        code=j.params.code,
        device=j.device(),
        strict=j.params.strict,
        log=j.log,
        use=j.params.use,
        used=j.used,
    )
