"""Write the pairs of a cohort as a dataset to hand on."""

from senmei.core.jobs import job
from senmei.stages.dataset import export_dataset
from senmei.studies import STUDIES

with job(snakemake) as j:  # noqa: F821
    export_dataset(
        {name: j.input[name] for name in ("scans", "participants", "facts")},
        j.input.raw,
        j.input.prepared,
        j.output.manifest,
        STUDIES.get(j.params.study)(),
        j.settings("cohort"),
        j.settings("options"),
        j.settings("degradation"),
        name=j.wildcards.cohort,
        strict=j.params.strict,
        log=j.log,
    )
