"""From the broker into the store: take in, commit, and only then acknowledge, to the broker and to the board."""
