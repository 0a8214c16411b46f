"""A gate from its start to its verdict: attempts, records, criteria evaluated, reports, states."""
