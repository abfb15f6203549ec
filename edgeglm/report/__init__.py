"""report.json and what people look at: the page, the summary, the comparison. Import from the modules."""
