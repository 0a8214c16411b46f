"""How data sets lie on disk: a module each."""
