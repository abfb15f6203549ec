"""One model in a process of its own: loads, reads, infers, writes."""
