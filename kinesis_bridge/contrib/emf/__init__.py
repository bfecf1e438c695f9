"""CloudWatch metrics without an agent of ours: lines in the embedded metric format.

``"kinesis_bridge.contrib.emf"`` in INSTALLED_APPS; needs no extra. Each process writes a few lines
a minute to stdout, or to a logger, from where Lambda, ECS (awslogs) or the CloudWatch agent take
them. ``KINESIS_BRIDGE_EMF = {"NAMESPACE": ..., "INTERVAL": ..., "LOGGER": ...}`` changes how.
"""
