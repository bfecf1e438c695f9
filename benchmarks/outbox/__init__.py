"""What the outbox costs and moves, on PostgreSQL: ``python -m benchmarks.outbox``.

=============  ================================================================================
``saves``      cost of a save: bare, with a plain ORM insert beside it, declared
``relays``     events/s of one and two relays from a backlog into the fast sink
``latency``    commit to acknowledged, at a steady rate
=============  ================================================================================

Each part is a process of its own against one PostgreSQL server that the benchmark starts.
"""
