"""Fit every method, the classical ones too: a baseline is tuned by the same code on the same validation scans.

Needs: the role groups that the method declares, of the train and validation splits of `use: train` cohorts; no more.
A method with `model` needs none of them: the given model of an earlier run is proven and copied in place of fitting.
Makes: models/{method}/{weights.safetensors,card.json,history.tsv}. Resumes from a checkpoint after a kill.
"""


rule train:
    """Fit one method on the training split, tuned on the validation split."""
    input:
        manifests=training_inputs,
        given=given_model,
    output:
        weights="<results>/{study}/models/{method}/weights.safetensors",
        card="<results>/{study}/models/{method}/card.json",
        history="<results>/{study}/models/{method}/history.tsv",
    log:
        "<logs>/{study}/train/{method}.log",
    benchmark:
        "<benchmarks>/{study}/train/{method}.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].code(
            "train", plan[wildcards.study].method_module(wildcards.method)
        ),
        rows=training_rows,
        seed=study_seed,
        method=lambda wildcards: frozen(plan[wildcards.study].method(wildcards.method)),
        images=images_made,
    threads: training_threads
    resources:
        mem_mb=training_megabytes,
        runtime=minutes(240),
        gpu=training_gpus,
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/train.py"
