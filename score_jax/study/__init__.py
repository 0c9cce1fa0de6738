"""The papers' studies end to end: from scans to tables, figures and a report.

`score` repeats the SCORE study, `sci` the SCIseg one. What they share: `results` (a table, a
figure), `stages` (work that is done once) and `report` (the page and its files).
"""
