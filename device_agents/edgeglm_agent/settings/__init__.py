"""The agent's one TOML file, checked like a recipe: all errors at once, each with its line and how to mend it."""
