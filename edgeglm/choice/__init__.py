"""`auto`: which artifacts to try, what to leave in higher precision, which come first."""
