"""Words that this package adds to edgeglm's recipes, and a runtime; pyproject.toml says which."""
