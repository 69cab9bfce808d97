"""What the clinician asks of restored scans; the unrestored input goes through the same door.

Needs: restored and prepared manifests. Makes: analysed/{cohort}/{analysis}/{method}/{shard}.tsv for analyses of
scans, .../cohort.tsv for analyses of a whole cohort.
"""


rule analyse:
    """Analyse the restored scans of one shard."""
    input:
        scans=scans_table,
        prepared=analysis_inputs,
        restored="<results>/{study}/restored/{cohort}/{method}/{shard}.tsv",
    output:
        table="<results>/{study}/analysed/{cohort}/{analysis}/{method}/{shard}.tsv",
    log:
        "<logs>/{study}/analyse/{cohort}/{analysis}/{method}/{shard}.log",
    benchmark:
        "<benchmarks>/{study}/analyse/{cohort}/{analysis}/{method}/{shard}.tsv"
    params:
        code=lambda wildcards: analysis_code(wildcards.study, wildcards.analysis),
        rows=shard_rows,
        analysis=analysis_use,
        settings=analysis_settings,
        strict=strict,
    threads: 1
    resources:
        mem_mb=megabytes(4000),
        runtime=minutes(60),
    conda:
        "../envs/ants.yaml"
    script:
        "../scripts/analyse.py"


rule analyse_cohort:
    """Analyse all restored test scans of a cohort together."""
    input:
        prepared=cohort_analysis_inputs,
        restored=cohort_restored,
    output:
        table="<results>/{study}/analysed/{cohort}/{analysis}/{method}/cohort.tsv",
    log:
        "<logs>/{study}/analyse_cohort/{cohort}/{analysis}/{method}.log",
    benchmark:
        "<benchmarks>/{study}/analyse_cohort/{cohort}/{analysis}/{method}.tsv"
    params:
        code=lambda wildcards: analysis_code(wildcards.study, wildcards.analysis),
        analysis=analysis_use,
        settings=analysis_settings,
    threads: 1
    resources:
        mem_mb=megabytes(8000),
        runtime=minutes(120),
    conda:
        "../envs/ants.yaml"
    script:
        "../scripts/analyse_cohort.py"


ruleorder: analyse_cohort > analyse
