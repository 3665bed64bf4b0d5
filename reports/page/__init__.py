"""The page: what it says, top to bottom, and its two forms, HTML and Markdown.

docs/architecture.md has the map of the files.

A part's template is written once: it calls the macros of `ui`, which are html.jinja or
markdown.jinja. A new part is a template here and a `Part` in section.py.
"""
