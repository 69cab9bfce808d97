"""Restore the test scans with every fitted method; `input` goes through the same door, unrestored.

Needs: the role groups a method applies to, its weights and card.
Makes: restored/{cohort}/{method}/{shard}.tsv, with {scan}.nii.gz and {scan}.json beside it.
"""


rule restore:
    """Restore the scans of one shard with one method."""
    input:
        scans=scans_table,
        prepared=restore_inputs,
        weights="<results>/{study}/models/{method}/weights.safetensors",
        card="<results>/{study}/models/{method}/card.json",
    output:
        manifest="<results>/{study}/restored/{cohort}/{method}/{shard}.tsv",
    log:
        "<logs>/{study}/restore/{cohort}/{method}/{shard}.log",
    benchmark:
        "<benchmarks>/{study}/restore/{cohort}/{method}/{shard}.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].code(
            "restore", plan[wildcards.study].method_module(wildcards.method)
        ),
        rows=shard_rows,
        use=lambda wildcards: plan[wildcards.study].method(wildcards.method)["use"],
        strict=strict,
    threads: worker_threads
    resources:
        mem_mb=megabytes(LEARNED_MB),
        runtime=minutes(60),
        gpu=worker_gpu,
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/restore.py"
