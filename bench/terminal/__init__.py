"""What all commands write to the terminal: text, answers and progress."""
