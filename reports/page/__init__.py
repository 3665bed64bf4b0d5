"""The page: what it says, top to bottom, and its two forms, HTML and Markdown.

    report.py         the order of the page: the blocks of a report, from its sections
    across.py         the losses over several data sets or models
    cross_setting.py  what belongs to no one setting: sources, overviews, the gallery of losses
    figures.py        the figures of a section, each with its caption and alternative text
    tables.py         the tables of a section
    provenance.py     where baselines come from, in words
    text.py           the longer passages: the question, what the verdicts rest on
    caveats.py        the box of what to know before believing it
    commands.py       the exact commands that a reader may type next
    blocks.py         what a page is made of, and how blocks become HTML and Markdown
    table.py          a table as CSV, LaTeX and Markdown
    templates/        the HTML, its style and its script

Each module knows only those below it.
"""
