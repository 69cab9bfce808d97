"""What a scan becomes for learning: roles, a group of them at a time.

Why groups: a training job that declares no group with a `reference` has none among its inputs.
Needs: scans.tsv (its own rows) and the shard's raw manifest.
Makes: prepared/{cohort}/{group}/{shard}.tsv, with {scan}_{role}.nii.gz (or .h5) beside it.
"""


rule prepare:
    """Roles of one group for the scans of one shard: degraded inputs, or references, or repeats."""
    input:
        scans=scans_table,
        raw="<results>/{study}/cohorts/{cohort}/raw/{shard}.tsv",
    output:
        manifest="<results>/{study}/prepared/{cohort}/{group}/{shard}.tsv",
    log:
        "<logs>/{study}/prepare/{cohort}/{group}/{shard}.log",
    benchmark:
        "<benchmarks>/{study}/prepare/{cohort}/{group}/{shard}.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].code("prepare", plan[wildcards.study].module),
        rows=shard_rows,
        study=study_use,
        seed=study_seed,
        cohort=scan_settings,
        degradation=degradation_settings,
        strict=strict,
    threads: 1
    resources:
        mem_mb=megabytes(4000),
        runtime=minutes(30),
    conda:
        "../envs/ants.yaml"
    script:
        "../scripts/prepare.py"
