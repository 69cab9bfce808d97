"""Fit one method."""

from senmei.core.jobs import job
from senmei.stages.train import by_cohort, train_method

with job(snakemake) as j:  # noqa: F821
    train_method(
        j.wildcards.method,
        j.settings("method"),
        by_cohort(j.input.manifests, 1),
        {"weights": j.output.weights, "card": j.output.card, "history": j.output.history},
        seed=j.params.seed,
        code=j.params.code,
        split_sha256=j.params.rows,
        device=j.device(),
        threads=j.threads,
        log=j.log,
        stop=j.told_to_stop(),
        processes=j.config["processes"],
        used=j.used,
        images=j.settings("images"),
    )
