"""Short named functions that the rules share: parameters and resources, as the plan says."""

from math import ceil

from senmei.analyses import ANALYSES
from senmei.core.fingerprint import fingerprint
from senmei.core.running import refuse_orphans
from senmei.measures import MEASURES
from senmei.stages.engine import START_MINUTES

LEARNED_MB = 4000

if workflow.is_main_process and workflow.resource_settings.nodes and not workflow.resource_settings.cores:
    refuse_orphans(Path.cwd())


def shard_rows(wildcards):
    """The scan rows that a job works on, as one line."""
    listing(wildcards.study, wildcards.cohort)
    return frozen(plan[wildcards.study].shard_rows(wildcards.cohort, wildcards.shard))


def engine_rows(wildcards):
    """The images that an engine's job works on, as one line."""
    listing(wildcards.study, wildcards.cohort)
    seed = int(wildcards.get("seed", 0))
    return frozen(plan[wildcards.study].engine_rows(wildcards.cohort, wildcards.shard, seed))


def engine_settings(part):
    """Input function: the settings that phantoms, or an engine's runs, depend on, as one line."""
    return lambda wildcards: frozen(plan[wildcards.study].engine_settings(wildcards.cohort, part))


def engine_minutes(wildcards, attempt):
    """Run time of one seed: what the configuration allows for its images, more with each attempt."""
    limit = plan[wildcards.study].engine_minutes(wildcards.cohort, wildcards.shard)
    return ceil(limit * attempt) + START_MINUTES


def cohort_settings(wildcards):
    """A cohort's settings as one line."""
    return frozen(plan[wildcards.study].cohorts[wildcards.cohort])


def training_rows(wildcards):
    """Hash of the scan rows that fitting a method may see."""
    training_listings(wildcards)
    return plan[wildcards.study].training_hash(wildcards.method)


def scan_settings(wildcards):
    """A cohort's settings as one line, without those that only say who is in it: a new subject changes no other's."""
    settings = plan[wildcards.study].cohorts[wildcards.cohort]
    return frozen({k: v for k, v in settings.items() if k not in ("use", "subjects", "split")})


def degradation_settings(wildcards):
    """A study's degradation as one line."""
    return frozen(plan[wildcards.study].settings["degradation"])


def images_made(wildcards):
    """How a study makes the images that methods learn from, for their cards."""
    return frozen(
        {"study": study_use(wildcards), "degradation": plan[wildcards.study].settings["degradation"]}
    )


def study_use(wildcards):
    """Registered name or place of a study."""
    return plan[wildcards.study].settings["use"]


def study_seed(wildcards):
    """The study's seed."""
    return plan[wildcards.study].seed


def strict(wildcards):
    """Whether a failing scan stops its job."""
    return config["strict"]


def worker_threads(wildcards):
    """Cores of a job that learns or restores: all that the configuration grants."""
    return config["threads"]


def training_processes(wildcards):
    """Processes that may fit a method: those that the configuration grants, at most one a sample of its batch."""
    study = plan[wildcards.study]
    if study.given(wildcards.method) or not study.constants(wildcards.method).get("together", False):
        return 1
    options = plan[wildcards.study].method(wildcards.method)
    return min(config["processes"], options.get("batch", config["processes"]))


def training_threads(wildcards):
    """Cores of a training job: those of each of its processes."""
    return config["threads"] * training_processes(wildcards)


def training_gpus(wildcards):
    """One GPU a process, where `worker_gpu` asks for one; none to copy a given model."""
    if plan[wildcards.study].given(wildcards.method):
        return 0
    return worker_gpu(wildcards) * training_processes(wildcards)


def worker_gpu(wildcards):
    """One GPU for what can use it, where `device` allows and there is one to be had."""
    place = plan[wildcards.study].constants(wildcards.method)
    wanted = place.get("family") == "learned" or place.get("gpu", False)
    return int(wanted and config["device"] != "cpu")


def megabytes(base):
    """Memory that grows with each attempt."""
    return lambda wildcards, attempt: base * attempt


def training_megabytes(wildcards, attempt):
    """Memory of a training job: each process holds the scans."""
    return LEARNED_MB * attempt * training_processes(wildcards)


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
    study = listed_plan(wildcards)
    return folders_hash(study.study.folders(study.cohorts[Path(wildcards.listed).name]))


def folders_hash(folders):
    """Hash of the names, sizes and times of all files below some folders."""
    hashes = [tree_hash(folder) for folder in folders]
    return hashes[0] if len(hashes) == 1 else frozen(hashes)


def analysis_settings(wildcards):
    """An analysis's settings as one line."""
    return frozen(plan[wildcards.study].options("analysis", wildcards.analysis))


def analysis_use(wildcards):
    """Registered name or place of an analysis."""
    return plan[wildcards.study].analyses[wildcards.analysis]["use"]
