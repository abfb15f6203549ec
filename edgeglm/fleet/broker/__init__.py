"""One machine's broker: configured against what would lose messages, started, watched and ended by edgeglm."""
