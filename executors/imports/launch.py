"""Calls `main` of a module in a fresh interpreter, which finds what its program finds.

`interpreter.py` has it run as `python launch.py OWN ROOT MODULE COUNT FOLDER... ARGUMENT...`, but
without leaving anything in `__main__`: there the pickles of a program look for its own functions.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder


class OwnPackages:
    """Finds packages in their folder, also if other folders on the path have such names.

    Args:
        names: of the packages.
        root: the folder that contains them.
    """

    def __init__(self, names: Iterable[str], root: str) -> None:
        self.names = set(names)
        self.root = root

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [self.root]) if name in self.names else None


if __name__ == "launch":
    _, own, root, module, count = sys.argv[1:6]
    sys.path[:] = sys.argv[6 : 6 + int(count)]
    del sys.argv[1 : 6 + int(count)]
    sys.meta_path.insert(0, OwnPackages(own.split(), root))
    import_module(module).main()
