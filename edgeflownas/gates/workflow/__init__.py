"""What the Snakefile needs to know about the gates, and which of Snakemake's messages are shown."""
