"""Sphinx, only to show that the pages render there too; see the docs session of noxfile.py."""

project = "executor-bench"
extensions = ["myst_parser"]
root_doc = "contents"
html_theme = "alabaster"
exclude_patterns = ["_build"]
