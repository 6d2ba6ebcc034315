"""``python -m benchmark report``: a folder of records as one self-contained HTML page.

``sheets``, ``facts``, ``pictures`` and ``grids`` turn records into plain data; ``page`` renders it with ``page.html``,
``page.css`` and ``page.js``. The template escapes all values, and the page's content security policy blocks network
requests and all scripts except its own.
"""
