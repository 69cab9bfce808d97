"""Restored images as files for whoever gave the scans: DICOM series for a viewer, or Interfile.

Needs: restored and raw manifests of a shard, the method's card. Only for cohorts that say `export`.
Makes: exported/{cohort}/{method}/{shard}.tsv, with {scan}.dcm (or what the study writes) and {scan}.json beside it.
"""


rule export:
    """Write the restored scans of one shard as files."""
    input:
        scans=scans_table,
        raw="<results>/{study}/cohorts/{cohort}/raw/{shard}.tsv",
        restored="<results>/{study}/restored/{cohort}/{method}/{shard}.tsv",
        card="<results>/{study}/models/{method}/card.json",
    output:
        manifest="<results>/{study}/exported/{cohort}/{method}/{shard}.tsv",
    log:
        "<logs>/{study}/export/{cohort}/{method}/{shard}.log",
    benchmark:
        "<benchmarks>/{study}/export/{cohort}/{method}/{shard}.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].code("export", plan[wildcards.study].module),
        rows=shard_rows,
        study=study_use,
        cohort=scan_settings,
        use=lambda wildcards: plan[wildcards.study].method(wildcards.method)["use"],
        rank=lambda wildcards: list(plan[wildcards.study].methods).index(wildcards.method) + 1,
        kind=lambda wildcards: plan[wildcards.study].export_format(wildcards.cohort),
        strict=strict,
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    conda:
        "../envs/dicom.yaml"
    script:
        "../scripts/export.py"
