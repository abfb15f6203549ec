"""What keeps the workers alive, and speaks for the board: sockets, outbox, broker, watchdog."""
