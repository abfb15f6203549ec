"""report.json and what people look at."""
