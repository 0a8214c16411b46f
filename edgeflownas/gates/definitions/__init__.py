"""One module per gate: its commands, constants, requirements, criteria and artifacts."""
