"""Input functions: which files a job waits for, as the plan says."""

from senmei.stages.laboratory_plan import printed_tables


def listing(study, cohort):
    """Wait until a cohort that comes from files has been listed; nothing to wait for in simulated ones."""
    if plan[study].listed(cohort):
        checkpoints.list_cohort.get(listed=f"{study}/cohorts/{cohort}")


def scans_table(wildcards):
    """scans.tsv of a cohort from files, to wait for; ancient, because a job carries its shard's own rows.

    None for a simulated cohort: what depends on a job that runs, even by an ancient file, is not looked at again
    by Snakemake, and a new subject would not be planned.
    """
    if not plan[wildcards.study].listed(wildcards.cohort):
        return []
    listing(wildcards.study, wildcards.cohort)
    return ancient(f"<results>/{wildcards.study}/cohorts/{wildcards.cohort}/scans.tsv")


def engine_manifests(wildcards):
    """Phantoms and seeds of a shard, where its cohort has engines."""
    listing(wildcards.study, wildcards.cohort)
    return plan[wildcards.study].engine_inputs(wildcards.cohort, wildcards.shard)


def prepared(study, cohort, groups, shards):
    """Prepared manifests."""
    return [f"<results>/{study}/prepared/{cohort}/{g}/{s}.tsv" for g in groups for s in shards]


def rules_report():
    """The run's report page."""
    return "<results>/report/index.html"


def every(kind):
    """Input function: tables of one kind of all studies."""
    return lambda wildcards: [path for study in plan.studies for path in study_tables(study, kind)]


def training_listings(wildcards):
    """Wait until the cohorts to train on have been listed; a given model needs none of them."""
    if plan[wildcards.study].given(wildcards.method):
        return
    for cohort, settings in plan[wildcards.study].cohorts.items():
        if settings["use"] == "train":
            listing(wildcards.study, cohort)


def training_inputs(wildcards):
    """Prepared manifests that a method may learn from."""
    training_listings(wildcards)
    study = plan[wildcards.study]
    shards = study.training_shards(wildcards.method)
    return [
        f"<results>/{study.name}/prepared/{cohort}/{group}/{shard}.tsv" for cohort, group, shard in shards
    ]


def given_model(wildcards):
    """Weights and card that are given in place of fitting a method, where they are."""
    return plan[wildcards.study].given(wildcards.method)


def restore_inputs(wildcards):
    """Prepared manifests that a method applies to."""
    study = plan[wildcards.study]
    groups = study.groups_of(study.constants(wildcards.method)["inputs"])
    return prepared(wildcards.study, wildcards.cohort, groups, [wildcards.shard])


def measure_inputs(wildcards):
    """Prepared manifests that the measures need."""
    return prepared(
        wildcards.study, wildcards.cohort, plan[wildcards.study].measured_groups, [wildcards.shard]
    )


def analysis_inputs(wildcards):
    """Prepared manifests that an analysis needs, of one shard."""
    groups = plan[wildcards.study].analysis_groups(wildcards.analysis)
    return prepared(wildcards.study, wildcards.cohort, groups, [wildcards.shard])


def cohort_analysis_inputs(wildcards):
    """Prepared manifests that an analysis needs, of all test shards."""
    listing(wildcards.study, wildcards.cohort)
    study = plan[wildcards.study]
    shards = study.shards(wildcards.cohort, ("test",))
    return prepared(study.name, wildcards.cohort, study.analysis_groups(wildcards.analysis), shards)


def cohort_restored(wildcards):
    """Restored manifests of all test shards."""
    listing(wildcards.study, wildcards.cohort)
    folder = f"<results>/{wildcards.study}/restored/{wildcards.cohort}/{wildcards.method}"
    return [f"{folder}/{s}.tsv" for s in plan[wildcards.study].shards(wildcards.cohort, ("test",))]


def study_tables(study, kind):
    """Tables of one kind of a study, once all its cohorts are listed."""
    s = plan[study]
    for cohort in {"exported": s.exports, "dataset": s.datasets}.get(kind, s.cohorts):
        listing(study, cohort)
    folder = f"<results>/{study}"
    if kind == "cohorts":
        return [f"{folder}/cohorts/{c}/status.tsv" for c in s.cohorts]
    if kind == "raw":
        return [f"{folder}/cohorts/{c}/raw/{shard}.tsv" for c in s.cohorts for shard in s.shards(c)]
    if kind == "phantoms":
        return [path for c in s.cohorts for shard in s.shards(c) for path in s.engine_inputs(c, shard)[:1]]
    if kind == "prepared":
        return [
            f"{folder}/prepared/{c}/{g}/{shard}.tsv" for c, shard in s.judged() for g in s.measured_groups
        ]
    if kind == "exported":
        return [f"{folder}/exported/{c}/{m}/{shard}.tsv" for c, m, shard in s.exported()]
    if kind == "dataset":
        return [f"{folder}/dataset/{c}.tsv" for c in s.datasets]
    if kind == "analysed":
        return [f"{folder}/analysed/{c}/{a}/{m}/{shard}.tsv" for c, a, m, shard in s.analysed()]
    return [f"{folder}/{kind}/{c}/{m}/{shard}.tsv" for c, shard in s.judged() for m in s.methods]


def dataset_raw(wildcards):
    """Raw manifests of a cohort that is handed on."""
    listing(wildcards.study, wildcards.cohort)
    folder = f"<results>/{wildcards.study}/cohorts/{wildcards.cohort}/raw"
    return [f"{folder}/{shard}.tsv" for shard in plan[wildcards.study].shards(wildcards.cohort)]


def dataset_prepared(wildcards):
    """Prepared manifests of a cohort that is handed on, of all its splits."""
    study = plan[wildcards.study]
    listing(study.name, wildcards.cohort)
    return prepared(study.name, wildcards.cohort, study.study.dataset_groups, study.shards(wildcards.cohort))


def licence_file(wildcards):
    """The text of a dataset's licence, where a file gives it."""
    return plan[wildcards.study].dataset(wildcards.cohort).get("licence_file") or []


def pages_to_print(wildcards):
    """Tables of the pages of all cohorts of printed sheets."""
    return printed_tables(plan.studies.values())


def collected(*kinds):
    """Input function: paths of some kinds of table of a study."""
    return lambda wildcards: [path for kind in kinds for path in study_tables(wildcards.study, kind)]


def cohort_tables(wildcards):
    """scans.tsv of all cohorts of a study."""
    return [f"<results>/{wildcards.study}/cohorts/{c}/scans.tsv" for c in plan[wildcards.study].cohorts]


def method_cards(wildcards):
    """Cards of all methods of a study."""
    return [f"<results>/{wildcards.study}/models/{m}/card.json" for m in plan[wildcards.study].methods]
