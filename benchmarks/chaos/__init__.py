"""Does everything that was committed arrive, whatever dies? ``python -m benchmarks.chaos``.

Real processes, real signals, a real database, and ``benchmarks.sink`` for AWS. Writers save rows of
known keys in transactions, some of which are rolled back; relays drain the outbox; every few
seconds something is killed, stopped, restarted, throttled or cut off. The rows are the truth: at
the end each committed row must have its event, in the order of its key, and nothing else may have
arrived.

=================  =============================================================================
``options``        the command line and what it may ask for
``settings``       of the writers' and the relays' Django, from the environment
``app``            the models
``writer``         one writing process
``processes``      writers and relays as children, and the signals they get
``databases``      PostgreSQL, MySQL or SQLite, and what can befall them
``actions``        what goes wrong, and when it ends
``run``            one run, from start to verdict
``truth``          what the database says: rows, what still waits
``verdict``        lost, duplicated, reordered, phantom; pure
``logs``           how much the relays log; pure
``report``         the table
=================  =============================================================================
"""
