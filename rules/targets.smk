"""Targets by name; `snakemake --list-target-rules` prints this page. `all`, the default, is in the Snakefile."""

from senmei.core.running import refuse_unwritable


onstart:
    refuse_unwritable(Path("results", config["run"]))


rule demo:
    """The demonstration on embedded phantoms (the shipped configuration), to results/demo/report/index.html."""
    input:
        rules_report(),


rule report:
    """The cohort report and the page of each study."""
    input:
        rules_report(),
        [f"<results>/{study}/report.html" for study in plan.studies],


rule cohorts:
    """Tables and checked raw images of every cohort."""
    input:
        every("cohorts"),
        every("raw"),


rule models:
    """Weights and cards of every method."""
    input:
        [f"<results>/{s.name}/models/{m}/card.json" for s in plan.studies.values() for m in s.methods],


rule restored:
    """Test scans restored by every method."""
    input:
        every("cohorts"),
        every("restored"),


rule exported:
    """Restored test scans as files for a viewer, of the cohorts that ask for them."""
    input:
        every("exported"),


rule datasets:
    """Pairs of measured images and teachers as datasets to hand on, of the cohorts that ask for it."""
    input:
        every("dataset"),


rule sheets:
    """Pages to be printed with radioactive ink, and the plan of the day, of the cohorts of printed sheets."""
    input:
        pages_to_print,


rule measured:
    """Measures of every restored scan."""
    input:
        every("cohorts"),
        every("measured"),


rule analysed:
    """Analyses of every restored scan, and the tidy table of all numbers."""
    input:
        every("analysed"),
        [f"<results>/{study}/measures.tsv" for study in plan.studies],


for _study in plan.studies.values():

    rule:
        """The page of this study alone, and all that it needs."""
        name:
            _study.name
        input:
            f"<results>/{_study.name}/report.html",
