"""Run one seed of an engine on the phantoms of one shard."""

from senmei.core.jobs import job
from senmei.stages.engine import engine_shard
from senmei.studies import STUDIES

with job(snakemake) as j:  # noqa: F821
    engine_shard(
        j.settings("rows"),
        j.input.phantom,
        j.output.manifest,
        STUDIES.get(j.params.study)(),
        j.settings("cohort"),
        int(j.wildcards.seed),
        seed=j.params.seed,
        code=j.params.code,
        minutes=snakemake.resources.runtime,  # noqa: F821 - the job's own limit, so that a retry has more
        strict=j.params.strict,
        log=j.log,
        failures=f"{snakemake.log[0]}.failed",  # noqa: F821
    )
