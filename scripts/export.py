"""Write the restored scans of one shard as files."""

from senmei.core.jobs import job
from senmei.stages.export import export_shard
from senmei.studies import STUDIES

with job(snakemake) as j:  # noqa: F821
    export_shard(
        j.settings("rows"),
        j.input.raw,
        j.input.restored,
        j.input.card,
        j.output.manifest,
        STUDIES.get(j.params.study)(),
        j.settings("cohort"),
        j.params.kind,
        use=j.params.use,
        rank=j.params.rank,
        code=j.params.code,
        strict=j.params.strict,
        log=j.log,
    )
