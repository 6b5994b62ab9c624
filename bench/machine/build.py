"""What a Python is: its version, its build, and whether its interpreter lock is on.

Also run as a program by other Pythons, before anything is known of them: their standard library
is all that it imports, and it has no syntax that an old one would not read.
"""

import platform
import shlex
import sys
import sysconfig

FLAGS = (  # of the optimisation, by a word in what the build was configured or compiled with
    ("PGO", ("--enable-optimizations", "-fprofile-use")),
    ("LTO", ("--with-lto", "-flto")),
    ("JIT", ("--enable-experimental-jit=yes ", "--enable-experimental-jit ")),
    ("debug", ("--with-pydebug",)),
)


def build_facts():
    # type: () -> dict[str, str]
    """Version, whether it is free-threaded, compiler and optimisation of this Python.

    The optimisation is what the build itself says: distributions that give `make` other flags than
    `configure` leave no trace of them.
    """
    given = shlex.split(str(sysconfig.get_config_var("CONFIG_ARGS") or ""))
    configured = " ".join(argument for argument in given if "/" not in argument)  # without paths
    names = ("OPT", "CFLAGS_NODIST", "LDFLAGS_NODIST")
    compiled = " ".join(str(sysconfig.get_config_var(name) or "") for name in names)
    levels = [word for word in compiled.split() if word.startswith("-O")]
    words = " ".join((configured, compiled, ""))
    found = [name for name, signs in FLAGS if any(sign in words for sign in signs)]
    return {
        "version": " ".join((platform.python_implementation(), platform.python_version())),
        "free_threaded": "yes" if sysconfig.get_config_var("Py_GIL_DISABLED") else "no",
        "gil": "on" if is_gil_enabled() else "off",
        "compiler": platform.python_compiler(),
        "optimisation": ", ".join(levels[-1:] + found) or "not recorded",
        "configured": configured,
    }


def is_gil_enabled():
    # type: () -> bool
    """Whether the interpreter lock is on now; an extension may switch it on when it is loaded."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


if __name__ == "__main__":
    import json
    import site

    for folder in sys.argv[1:]:
        site.addsitedir(folder)
    facts = build_facts()
    short = ".".join(platform.python_version_tuple()[:2])
    facts["short"] = short + "t" if facts["free_threaded"] == "yes" else short
    facts["executable"] = sys.executable
    path = [entry for entry in sys.path if entry]
    sys.stdout.write(json.dumps({"path": path, "facts": facts}) + "\n")
