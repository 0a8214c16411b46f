"""What the Snakefile is given of the gates, and what of Snakemake's own words is shown."""
