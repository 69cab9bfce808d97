"""Programs of others that simulate a camera (SIMIND), or a patient (XCAT): each seed a job of its own.

Why seeds: they are independent, so a cluster spreads them, and one that fails is the only one done again.
Needs: the configuration, or listed files of phantoms; the programs, which are looked for here, before any job.
Makes: cohorts/{cohort}/phantom/{shard}.tsv and cohorts/{cohort}/seed-{seed}/{shard}.tsv, with maps and projections
beside them, for cohorts that ask for it; `ingest` takes them from there. Other cohorts have neither.
"""

if workflow.is_main_process:
    plan.check_programs()


rule render_phantom:
    """Maps of one shard for an engine: anatomy, activity and attenuation."""
    input:
        scans=scans_table,
    output:
        manifest="<results>/{study}/cohorts/{cohort}/phantom/{shard}.tsv",
    log:
        "<logs>/{study}/render_phantom/{cohort}/{shard}.log",
    benchmark:
        "<benchmarks>/{study}/render_phantom/{cohort}/{shard}.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].engine_code("phantom"),
        rows=engine_rows,
        study=study_use,
        seed=study_seed,
        cohort=engine_settings("phantom"),
        strict=strict,
    threads: 1
    resources:
        mem_mb=megabytes(4000),
        runtime=minutes(60),
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/render_phantom.py"


rule run_engine:
    """One seed of an engine on the phantoms of one shard."""
    input:
        scans=scans_table,
        phantom="<results>/{study}/cohorts/{cohort}/phantom/{shard}.tsv",
    output:
        manifest="<results>/{study}/cohorts/{cohort}/seed-{seed}/{shard}.tsv",
    log:
        "<logs>/{study}/run_engine/{cohort}/seed-{seed}/{shard}.log",
    benchmark:
        "<benchmarks>/{study}/run_engine/{cohort}/seed-{seed}/{shard}.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].engine_code("engine"),
        rows=engine_rows,
        study=study_use,
        seed=study_seed,
        cohort=engine_settings("engine"),
        strict=strict,
    wildcard_constraints:
        seed=r"[1-9]\d*",
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=engine_minutes,
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/run_engine.py"
