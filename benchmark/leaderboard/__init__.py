"""``python -m benchmark leaderboard``: records as a static site, a page per protocol and backbone.

``heads`` names the columns, ``rows`` turns records and published figures into the rows of a board, ``board`` joins
them, and ``site`` renders all pages. These open from files: every page contains its style and script, and its content
security policy blocks requests. The site also contains the records that its cells come from.
"""
