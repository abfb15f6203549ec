"""What a store knows of the boards, as tables, cards, lines and files."""
