"""Events made by PostgreSQL itself, of rows that it holds: no row comes to Python and back.

One description of a declaration in SQL, two uses: the triggers of ``capture="triggers"``, and, of
what Django writes at once, ``update()`` and ``bulk_create()`` in one statement with their events.
"""
