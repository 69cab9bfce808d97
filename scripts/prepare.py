"""Build one group of roles for the scans of one shard."""

from senmei.core.jobs import job
from senmei.stages.prepare import prepare_shard
from senmei.studies import STUDIES

with job(snakemake) as j:  # noqa: F821
    prepare_shard(
        j.settings("rows"),
        j.input.raw,
        j.wildcards.group,
        j.output.manifest,
        STUDIES.get(j.params.study)(),
        j.settings("cohort"),
        j.settings("degradation"),
        seed=j.params.seed,
        code=j.params.code,
        strict=j.params.strict,
        log=j.log,
    )
