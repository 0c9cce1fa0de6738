"""The page that segments and shows scans in a browser: its files, and a server for this computer.

The sources are TypeScript in the repository's folder ``web``; ``page.zip`` here is what they were
built into, so that an installed package needs no Node.
"""
