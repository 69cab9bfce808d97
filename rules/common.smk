"""Short named functions that the rules share: what the plan says, as Snakemake asks for it."""

LEARNED_MB = 4000


def listing(study, cohort):
    """Wait until a cohort that comes from files has been listed; nothing to wait for in simulated ones."""
    if plan[study].listed(cohort):
        checkpoints.list_cohort.get(listed=f"{study}/cohorts/{cohort}")


def scans_table(wildcards):
    """scans.tsv of a cohort; ancient, because shards carry the hash of their own rows instead."""
    listing(wildcards.study, wildcards.cohort)
    return ancient(f"<results>/{wildcards.study}/cohorts/{wildcards.cohort}/scans.tsv")


def shard_rows(wildcards):
    """Hash of the scan rows that a job works on."""
    return plan[wildcards.study].shard_hash(wildcards.cohort, wildcards.shard)


def cohort_settings(wildcards):
    """A cohort's settings as one line."""
    return frozen(plan[wildcards.study].cohorts[wildcards.cohort])


def degradation_settings(wildcards):
    """A study's degradation as one line."""
    return frozen(plan[wildcards.study].settings["degradation"])


def study_use(wildcards):
    """Registered name or place of a study."""
    return plan[wildcards.study].settings["use"]


def study_seed(wildcards):
    """The study's seed."""
    return plan[wildcards.study].seed


def strict(wildcards):
    """Whether a failing scan stops its job."""
    return config["strict"]


def prepared(study, cohort, groups, shards):
    """Prepared manifests."""
    return [f"<results>/{study}/prepared/{cohort}/{g}/{s}.tsv" for g in groups for s in shards]


def worker_threads(wildcards):
    """Cores of a job that learns or restores: all that the configuration grants."""
    return config["threads"]


def worker_gpu(wildcards):
    """One GPU for what can use it, where `device` allows and there is one to be had."""
    place = plan[wildcards.study].constants(wildcards.method)
    wanted = place.get("family") == "learned" or place.get("gpu", False)
    return int(wanted and config["device"] != "cpu")


def megabytes(base):
    """Memory that grows with each attempt."""
    return lambda wildcards, attempt: base * attempt


def minutes(base):
    """Run time that grows with each attempt."""
    return lambda wildcards, attempt: base * attempt


def measuring_code(study):
    """Fingerprint of the measures a study uses."""
    return plan[study].code("measure", *(MEASURES.module(use) for use in plan[study].measures.values()))


def analysis_code(study, analysis):
    """Fingerprint of an analysis."""
    return plan[study].code("measure", ANALYSES.module(plan[study].analyses[analysis]["use"]))


def listed_plan(wildcards):
    """The plan of the study that a listed cohort belongs to."""
    return plan[wildcards.listed.split("/")[0]]


def files_hash(wildcards):
    """Hash of the names, sizes and times of a cohort's files: new files list it anew."""
    return tree_hash(listed_plan(wildcards).cohorts[Path(wildcards.listed).name]["path"])


def rules_report():
    """The run's report page."""
    return "<results>/report/index.html"


def every(kind):
    """Input function: tables of one kind of all studies."""
    return lambda wildcards: [path for study in plan.studies for path in study_tables(study, kind)]
