"""Other outbox packages of PyPI beside ours: ``python -m benchmarks.outbox.peers``.

===================  ==========================================================================
``packages``         which packages, their settings, and what their relays send to
``__main__``         installs them, starts PostgreSQL and the targets, prints the table
``process``          one measured process: saves, a backlog, or a relay that drains it
``settings``         Django's settings of such a process; ``models`` its models
``stomp``            a STOMP server that only counts
===================  ==========================================================================

The other modules are each the use of one package, as its own documentation shows. All but
``__main__`` and ``stomp`` run in that package's own environment, where ours is not installed:
they import nothing of it. This is also the Django app of those processes.
"""
