"""Which record of a stream: topic, partition and offset."""


class QualifiedOffset:
    """A place in a stream, for ``platform.explicit_ack``."""

    def __init__(self, topic, partition, offset):
        self.topic = topic
        self.partition = partition
        self.offset = offset

    @classmethod
    def from_event(cls, event):
        """The place that an event came from."""
        # Older processors of nuclio gave the topic as the path; and it says shard for partition.
        return cls(event.topic or event.path, event.shard_id, event.offset)

    def compile_explicit_ack_message(self):
        """The message that nuclio's own processor understands."""
        attributes = {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
        }
        return {"kind": "streamMessageAck", "attributes": attributes}

    def __eq__(self, other):
        return isinstance(other, QualifiedOffset) and vars(self) == vars(other)

    def __hash__(self):
        return hash((self.topic, self.partition, self.offset))

    def __repr__(self):
        return f"QualifiedOffset({self.topic!r}, {self.partition!r}, {self.offset!r})"
