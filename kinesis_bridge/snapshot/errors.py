"""What goes wrong with a snapshot."""

from kinesis_bridge.exceptions import KinesisBridgeError


class SnapshotError(KinesisBridgeError):
    """The snapshot cannot be made as asked, or cannot go on."""
