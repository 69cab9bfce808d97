"""Who is studied, and their raw images.

Needs: the configuration; for cohorts from files, the files.
Makes: cohorts/{cohort}/{participants,scans,split,status}.tsv, cohort.json; a raw manifest per shard,
with simulated images beside it. Splits are by subject and fixed here, before any noise is drawn.
"""


rule simulate_cohort:
    """Tables of a simulated cohort, all known from the configuration."""
    output:
        scans="<results>/{study}/cohorts/{cohort}/scans.tsv",
        participants="<results>/{study}/cohorts/{cohort}/participants.tsv",
        split="<results>/{study}/cohorts/{cohort}/split.tsv",
        status="<results>/{study}/cohorts/{cohort}/status.tsv",
        facts="<results>/{study}/cohorts/{cohort}/cohort.json",
    log:
        "<logs>/{study}/simulate_cohort/{cohort}.log",
    benchmark:
        "<benchmarks>/{study}/simulate_cohort/{cohort}.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].code("cohort", plan[wildcards.study].module),
        study=study_use,
        seed=study_seed,
        cohort=cohort_settings,
        degradation=degradation_settings,
        shards=lambda wildcards: plan[wildcards.study].settings["shards"],
    threads: 1
    resources:
        mem_mb=megabytes(500),
        runtime=minutes(10),
    conda:
        "../envs/base.yaml"
    script:
        "../scripts/simulate_cohort.py"


checkpoint list_cohort:
    """Tables of a cohort read from files (BIDS, DICOM): what was taken, and what was left and why."""
    output:
        scans="<results>/{listed}/scans.tsv",
        participants="<results>/{listed}/participants.tsv",
        split="<results>/{listed}/split.tsv",
        status="<results>/{listed}/status.tsv",
        facts="<results>/{listed}/cohort.json",
    log:
        "<logs>/{listed}/list_cohort.log",
    benchmark:
        "<benchmarks>/{listed}/list_cohort.tsv"
    params:
        code=lambda wildcards: listed_plan(wildcards).code("cohort", listed_plan(wildcards).module),
        study=lambda wildcards: listed_plan(wildcards).settings["use"],
        seed=lambda wildcards: listed_plan(wildcards).seed,
        cohort=lambda wildcards: frozen(listed_plan(wildcards).cohorts[Path(wildcards.listed).name]),
        degradation=lambda wildcards: frozen(listed_plan(wildcards).settings["degradation"]),
        shards=lambda wildcards: listed_plan(wildcards).settings["shards"],
        files=files_hash,
        strict=strict,
    wildcard_constraints:
        listed="|".join(plan.listed_cohorts()) or "nothing-is-listed",
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(60),
    conda:
        "../envs/dicom.yaml"
    script:
        "../scripts/list_cohort.py"


rule ingest:
    """Raw images of one shard: simulated, gathered from an engine, or read from a user's files and checked."""
    input:
        scans=scans_table,
        engine=engine_manifests,
    output:
        manifest="<results>/{study}/cohorts/{cohort}/raw/{shard}.tsv",
    log:
        "<logs>/{study}/ingest/{cohort}/{shard}.log",
    benchmark:
        "<benchmarks>/{study}/ingest/{cohort}/{shard}.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].code("ingest", plan[wildcards.study].module),
        rows=shard_rows,
        study=study_use,
        seed=study_seed,
        cohort=scan_settings,
        strict=strict,
    threads: 1
    resources:
        mem_mb=megabytes(3000),
        runtime=minutes(30),
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/ingest.py"


ruleorder: list_cohort > simulate_cohort
