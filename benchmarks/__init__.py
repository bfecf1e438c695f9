"""Benchmarks of kinesis_bridge, and the servers they run against."""
