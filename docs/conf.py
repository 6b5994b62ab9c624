"""The documentation site: Sphinx over the Markdown pages; `nox -s docs` builds it."""

from __future__ import annotations

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

project = "executor-bench"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
html_theme = "furo"
html_title = "executor-bench"
html_show_copyright = False
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # links to headings, as on GitHub
smartquotes = False  # -- is an option here, not a dash
default_role = "code"  # `name` in docstrings is code, as in Markdown
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
napoleon_use_ivar = True


def open_in_place(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Links to HTML reports and schemas open them; Sphinx would make them downloads."""
    for link in list(doctree.findall(addnodes.download_reference)):
        page = relative_uri(app.builder.get_target_uri(docname), f"_downloads/{link['filename']}")
        link.replace_self(nodes.reference("", "", *link.children, refuri=page))


def leave_out(app: Sphinx, context: object, lines: list[str]) -> None:
    """What a command's text says already: its arguments, and the names of variables."""
    lines.clear()


def setup(app: Sphinx) -> None:
    app.add_event("sphinx-click-process-envars")  # sphinx-click 6.2 emits it under this name
    for event in ("arguments", "envvars", "envars"):
        app.connect(f"sphinx-click-process-{event}", leave_out)
    app.connect("doctree-resolved", open_in_place)
