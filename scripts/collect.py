"""Gather the numbers of a study."""

from pathlib import Path

from senmei.core.jobs import job
from senmei.stages.collect import collect_study

with job(snakemake) as j:  # noqa: F821
    collect_study(
        Path(j.output.measures).parent,
        j.input.results,
        j.input.stages,
        j.input.cards,
        j.wildcards.study,
        j.params.study,
        run=j.params.run,
        measures=j.settings("measures"),
        analyses=j.settings("analyses"),
        seed=j.params.seed,
    )
