"""The laboratory: pages to be printed, with the plan of the day, before anything was imaged.

Kept when it fails, for they are the record of a day (`update`); a table that was filled in is never written over.
Why its own rule: sheets are printed days before their scans are there, so nothing here waits for a listing.
Needs: the configuration; the folder of teachers, where one is given.
Makes: printed/{cohort}/sheets.pdf, pages.tsv (which teacher is on which page), plan.tsv (activity, ink, times),
scans.tsv (to be filled and put beside the scans), layout.json and notes.txt, for cohorts of printed sheets.
"""


rule print_sheets:
    """Pages of one cohort as a true-scale PDF, with the plan of printing and imaging them."""
    output:
        sheets=update("<results>/{study}/printed/{cohort}/sheets.pdf"),
        pages=update("<results>/{study}/printed/{cohort}/pages.tsv"),
        plan=update("<results>/{study}/printed/{cohort}/plan.tsv"),
        scans=update("<results>/{study}/printed/{cohort}/scans.tsv"),
        layout=update("<results>/{study}/printed/{cohort}/layout.json"),
        notes=update("<results>/{study}/printed/{cohort}/notes.txt"),
    log:
        "<logs>/{study}/print_sheets/{cohort}.log",
    benchmark:
        "<benchmarks>/{study}/print_sheets/{cohort}.tsv"
    params:
        code=lambda wildcards: plan[wildcards.study].laboratory_code(),
        study=study_use,
        cohort=lambda wildcards: frozen(plan[wildcards.study].print_settings(wildcards.cohort)),
        files=lambda wildcards: folders_hash(plan[wildcards.study].print_folders(wildcards.cohort)),
    threads: 1
    resources:
        mem_mb=megabytes(3000),
        runtime=minutes(60),
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/print_sheets.py"
