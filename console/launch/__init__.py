"""What `make up`, `make down` and `make status` do.

The first stage (``first.py`` and what it imports) runs on a bare Python with nothing installed; it
makes the virtual environment, in which the second stage (``second.py``) runs everything.
"""
