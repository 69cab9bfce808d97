"""What each rule does: one function a stage, called by one script. Knows files and manifests, not Snakemake."""
