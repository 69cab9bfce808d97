"""A cohort's pairs as a dataset that others can use: BIDS-like folder, DICOM, checksums, licence.

Needs: tables, raw and prepared manifests of the whole cohort. Only for cohorts that say `dataset`.
Makes: dataset/{cohort}/, whole once its SHA256SUMS is there, and dataset/{cohort}.tsv: a row a scan and file.
"""


rule export_dataset:
    """Write the pairs of a cohort as a dataset to hand on."""
    input:
        scans="<results>/{study}/cohorts/{cohort}/scans.tsv",
        participants="<results>/{study}/cohorts/{cohort}/participants.tsv",
        facts="<results>/{study}/cohorts/{cohort}/cohort.json",
        raw=dataset_raw,
        prepared=dataset_prepared,
        licence=licence_file,
    output:
        manifest="<results>/{study}/dataset/{cohort}.tsv",
        sums="<results>/{study}/dataset/{cohort}/SHA256SUMS",
    log:
        "<logs>/{study}/export_dataset/{cohort}.log",
    benchmark:
        "<benchmarks>/{study}/export_dataset/{cohort}.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].code(
            "dataset", plan[wildcards.study].study.dataset_module
        ),
        study=study_use,
        cohort=scan_settings,
        options=lambda wildcards: frozen(plan[wildcards.study].dataset(wildcards.cohort)),
        degradation=degradation_settings,
        strict=strict,
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(60),
    conda:
        "../envs/dicom.yaml"
    script:
        "../scripts/export_dataset.py"
