"""The search space, its codes, fair sampling, and the commands about subnets."""
