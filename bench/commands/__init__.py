"""What the commands do, a module each; `bench/cli` reads their options."""
