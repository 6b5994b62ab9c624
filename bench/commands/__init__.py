"""What the commands do, a module each; `bench/cli.py` reads their options."""
