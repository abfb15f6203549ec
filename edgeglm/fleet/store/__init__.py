"""Where what came is kept: SQLite on one machine, PostgreSQL beyond it."""
