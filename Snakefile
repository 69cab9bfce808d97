"""Senmei: five ways to make medical images better, and the proof. See README.md; targets: --list-target-rules."""

from pathlib import Path

from snakemake.utils import min_version

from senmei.core.configuration import resolve
from senmei.core.devices import check_policy
from senmei.stages.plan import Plan, frozen, tree_hash

min_version("9.27")


configfile: "config/config.yaml"


config = resolve(config, Path(workflow.basedir))
check_policy(config["device"], local=workflow.resource_settings.nodes is None and not workflow.remote_exec)


pathvars:
    results=f"results/{config['run']}",
    logs=f"results/{config['run']}/logs",
    benchmarks=f"results/{config['run']}/benchmarks",


plan = Plan(config, f"results/{config['run']}")


wildcard_constraints:
    study="|".join(plan.studies),
    cohort=r"[A-Za-z0-9_-]+",
    shard=r"[A-Za-z0-9_-]+",
    group=r"[a-z0-9_]+",
    method=r"[A-Za-z0-9_-]+",
    analysis=r"[A-Za-z0-9_-]+",


include: "rules/common.smk"
include: "rules/inputs.smk"


rule all:
    """Everything: the report of every configured study."""
    input:
        rules_report(),


include: "rules/targets.smk"
include: "rules/engine.smk"
include: "rules/laboratory.smk"
include: "rules/cohort.smk"
include: "rules/prepare.smk"
include: "rules/dataset.smk"
include: "rules/train.smk"
include: "rules/restore.smk"
include: "rules/export.smk"
include: "rules/measure.smk"
include: "rules/analyse.smk"
include: "rules/report.smk"
