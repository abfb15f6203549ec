"""The way through a recipe: load, steps, artifacts, evaluate, measure, judge."""
