"""From numbers to pages.

Needs: measured and analysed tables, manifests of every stage (for what failed), cards.
Makes: measures.tsv (tidy), status.tsv, summary.json, report.html a study; report/index.html of the run.
"""

from senmei.stages.report import report_spec, templates_hash


rule collect:
    """Tidy table, failures and headlines of a study."""
    input:
        results=collected("measured", "analysed"),
        stages=collected("cohorts", "phantoms", "raw", "prepared", "restored", "exported"),
        scans=cohort_tables,
        cards=method_cards,
    output:
        measures="<results>/{study}/measures.tsv",
        status="<results>/{study}/status.tsv",
        summary="<results>/{study}/summary.json",
    log:
        "<logs>/{study}/collect.log",
    benchmark:
        "<benchmarks>/{study}/collect.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].code("collect"),
        study=study_use,
        seed=study_seed,
        run=config["run"],
        measures=lambda wildcards: frozen(plan[wildcards.study].measures),
        analyses=lambda wildcards: frozen({n: s["use"] for n, s in plan[wildcards.study].analyses.items()}),
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/collect.py"


rule report_study:
    """The page of one study: figures, tables, failures, methods paragraph."""
    input:
        measures="<results>/{study}/measures.tsv",
        status="<results>/{study}/status.tsv",
        summary="<results>/{study}/summary.json",
        cards=method_cards,
    output:
        page="<results>/{study}/report.html",
    log:
        "<logs>/{study}/report_study.log",
    benchmark:
        "<benchmarks>/{study}/report_study.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].code("report", "senmei.report.study"),
        templates=templates_hash(),
        spec=lambda wildcards: frozen(
            report_spec(plan[wildcards.study].study, plan[wildcards.study].settings, config["run"])
        ),
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    conda:
        "../envs/base.yaml"
    script:
        "../scripts/report_study.py"


rule report_run:
    """The cohort report: every study of the run on one page."""
    input:
        pages=[f"<results>/{study}/report.html" for study in plan.studies],
        summaries=[f"<results>/{study}/summary.json" for study in plan.studies],
    output:
        page="<results>/report/index.html",
    log:
        "<logs>/report_run.log",
    benchmark:
        "<benchmarks>/report_run.tsv"
    params:
        code=fingerprint("senmei.report.cohort"),
        templates=templates_hash(),
        studies=list(plan.studies),
        config=lambda wildcards: frozen(config),
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    conda:
        "../envs/base.yaml"
    script:
        "../scripts/report_run.py"
