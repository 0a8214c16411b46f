"""Which subnet? The whole space judged, its Pareto front, what each block is worth, how far noise reaches, picks."""
