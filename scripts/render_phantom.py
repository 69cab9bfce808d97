"""Render, or read and check, the phantoms of one shard."""

from senmei.core.jobs import job
from senmei.stages.engine import render_shard
from senmei.studies import STUDIES

with job(snakemake) as j:  # noqa: F821
    render_shard(
        j.settings("rows"),
        j.output.manifest,
        STUDIES.get(j.params.study)(),
        j.settings("cohort"),
        seed=j.params.seed,
        code=j.params.code,
        strict=j.params.strict,
        log=j.log,
    )
