"""The exit codes of `bench`; 2 is click's code for wrong usage."""

FAILED = 1  # a task or the run failed
REGRESSION = 3  # compare: a case got slower
UNSURE = 4  # run --strict: the machine was not quiet; recommend: cannot tell
INTERRUPTED = 130  # SIGINT
TERMINATED = 143  # SIGTERM
