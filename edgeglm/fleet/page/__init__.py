"""`edgeglm fleet serve`: the fleet as a web page, live. What it serves is in ``static/``, nothing elsewhere."""
