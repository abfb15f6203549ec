"""`edgeglm fleet up`: all of one machine's fleet, in one folder."""
