"""The exit codes of `bench`."""

FAILED = 1  # a task or the run failed
WRONG_USAGE = 2  # also click's code for it
REGRESSION = 3  # compare: a case got slower
UNSURE = 4  # run --strict: not quiet; compare: nothing decided; recommend, metg: cannot tell
INTERRUPTED = 130  # SIGINT
TERMINATED = 143  # SIGTERM
