"""Files for boards: export, quantize, check."""
