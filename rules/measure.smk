"""Numbers of each restored volume against its reference, inside one fixed mask.

Needs: restored and prepared manifests of a shard.
Makes: measured/{cohort}/{method}/{shard}.tsv, a row a scan and measure.
"""


rule measure:
    """Measure the restored scans of one shard."""
    input:
        scans=scans_table,
        prepared=measure_inputs,
        restored="<results>/{study}/restored/{cohort}/{method}/{shard}.tsv",
    output:
        table="<results>/{study}/measured/{cohort}/{method}/{shard}.tsv",
    log:
        "<logs>/{study}/measure/{cohort}/{method}/{shard}.log",
    benchmark:
        "<benchmarks>/{study}/measure/{cohort}/{method}/{shard}.tsv"
    params:
        code=lambda wildcards: measuring_code(wildcards.study),
        rows=shard_rows,
        measures=lambda wildcards: frozen(plan[wildcards.study].measures),
        strict=strict,
    threads: 1
    resources:
        mem_mb=megabytes(3000),
        runtime=minutes(30),
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/measure.py"
