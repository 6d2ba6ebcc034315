"""``python -m benchmark report``: what a folder of records holds, as one page that needs nothing else.

``sheets``, ``facts``, ``pictures`` and ``grids`` turn records into plain data, ``page`` puts these into ``page.html``
with ``page.css`` and ``page.js``. The template escapes whatever it is given, and the page's own policy forbids every
request and every script but its own.
"""
