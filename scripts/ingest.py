"""Simulate, or read and check, the raw images of one shard."""

from senmei.core.jobs import job
from senmei.stages.ingest import ingest_shard
from senmei.studies import STUDIES

with job(snakemake) as j:  # noqa: F821
    ingest_shard(
        j.settings("rows"),
        j.output.manifest,
        STUDIES.get(j.params.study)(),
        j.settings("cohort"),
        seed=j.params.seed,
        code=j.params.code,
        strict=j.params.strict,
        log=j.log,
        engine=j.input.engine,
    )
