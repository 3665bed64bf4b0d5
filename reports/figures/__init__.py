"""The figures: frames and arrays in, matplotlib Figures out. Computes no statistics, saves nothing.

    palette.py      how everything looks: the color of each loss, the type, SVG that a page can
                    tint
    fonts.py        which installed fonts have the characters of names
    drawing.py      what figures share: the canvas, labels, limits, ticks
    curves.py       accuracy, own loss and other measures as training goes on
    effects.py      the metric against what was set: the length of training, any other number
    rates.py        every loss at every learning rate
    ranks.py        losses over data sets, and how many of their runs reached a target
    comparisons.py  the last epoch's numbers, the differences and their verdicts
    pictures.py     classes, corruptions and single images
    gallery.py      the losses themselves: the weight of the gradient, and the value

A new figure is a function here, a method in `reports.page.figures` and its place in
`reports.page.section`.
"""
