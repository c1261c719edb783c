from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from types import SimpleNamespace
from typing import Any, Literal, overload

from nuclio_sdk import cloudevent as cloudevent
from nuclio_sdk import context as context
from nuclio_sdk import event as event
from nuclio_sdk import exceptions as exceptions
from nuclio_sdk import helpers as helpers
from nuclio_sdk import json_encoder as json_encoder
from nuclio_sdk import logger as logger
from nuclio_sdk import platform as platform
from nuclio_sdk import qualified_offset as qualified_offset
from nuclio_sdk import response as response

SINGLE_RESPONSE: str
GENERATOR_RESPONSE: str
RESPONSE_WITH_GENERATOR_BODY: str

class TriggerInfo:
    kind: str
    name: str
    def __init__(self, kind: str | None = None, name: str | None = None) -> None: ...

class Headers(dict[str, Any]):
    """A dict whose names may be written in any case."""

    def get_all(self, name: str) -> list[Any]:
        """All values of a header in the order they came."""
    def add(self, name: str, value: Any) -> None:
        """One more line of a header."""
    def copy(self) -> Headers: ...

class Event:
    """What a handler gets. Every field can be set, as on any Python object."""

    body: Any
    """`bytes`; with the content type `application/json` what the JSON says, if it is valid."""
    content_type: str
    trigger: TriggerInfo
    fields: dict[str, str]
    """The query; of a repeated name the last value."""
    headers: Headers
    id: str
    method: str
    path: str
    size: int
    timestamp: datetime
    """Arrival, UTC without a time zone."""
    time: datetime
    """Arrival, UTC with its time zone."""
    url: str
    shard_id: int
    num_shards: int
    type: str
    type_version: str
    version: str
    last_in_batch: bool
    offset: int
    topic: str
    key: bytes | None
    partition: int
    attempt: int
    """The first attempt is 1."""
    deadline: float | None
    """When the answer is due, on the clock of `time.monotonic()`."""

    @property
    def cloudevent(self) -> CloudEvent | None:
        """The CloudEvent that this event is; None for other events and for a batch."""
    @property
    def cloudevents(self) -> list[CloudEvent]:
        """Every CloudEvent in it: none, one, or those of a batch."""
    @property
    def body_stream(self) -> BodyStream:
        """The pieces of the body: with `streamRequests` while they come, else all at once."""
    @property
    def body_view(self) -> memoryview:
        """The body without a copy, read-only. Safe to keep: the memory is not used again before."""
    def __init__(
        self,
        body: Any = None,
        content_type: str | None = None,
        trigger: TriggerInfo | None = None,
        fields: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        _id: str | None = None,
        method: str | None = None,
        path: str | None = None,
        size: int | None = None,
        timestamp: datetime | int | None = None,
        url: str | None = None,
        shard_id: int | None = None,
        num_shards: int | None = None,
        _type: str | None = None,
        type_version: str | None = None,
        version: str | None = None,
        last_in_batch: bool | None = None,
        offset: int | None = None,
        topic: str | None = None,
        *,
        id: str | None = None,
        type: str | None = None,
        time: datetime | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        attempt: int | None = None,
        deadline: float | None = None,
    ) -> None: ...
    def get_header(self, header_key: str) -> str | None:
        """The first header of this name, whatever its case."""
    def to_json(self) -> str: ...
    @staticmethod
    def deserialize(data: Any, kind: EventDeserializerKinds | None = None) -> Any:
        """An event, or a list of them, of a message in nuclio's form."""
    def compile_explicit_ack_message(self) -> dict[str, Any]: ...

class BodyStream(Iterator[bytes], AsyncIterator[bytes]):
    """The pieces of a request body.

    In a sync handler `for piece in event.body_stream`, in an async one `async for`. Ends early with
    ConnectionResetError when the client leaves or breaks its framing.
    """

    def __iter__(self) -> BodyStream: ...
    def __next__(self) -> bytes: ...
    def __aiter__(self) -> BodyStream: ...
    async def __anext__(self) -> bytes: ...

class CloudEvent:
    """A CloudEvent 0.1 or 1.0; returned by a handler it is sent in structured form."""

    type: str
    source: str
    data: Any
    id: str
    time: datetime | None
    subject: str | None
    datacontenttype: str | None
    dataschema: str | None
    specversion: str
    typeversion: str | None
    extensions: dict[str, Any]
    def __init__(
        self,
        type: str,
        source: str,
        data: Any = None,
        *,
        id: str | None = None,
        time: datetime | None = None,
        subject: str | None = None,
        datacontenttype: str | None = None,
        dataschema: str | None = None,
        specversion: str = "1.0",
        typeversion: str | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None: ...
    @property
    def is_old(self) -> bool:
        """True for the names and forms of 0.1."""
    def to_dict(self) -> dict[str, Any]: ...
    def structured(self) -> Response:
        """A response with everything in the body."""
    def binary(self) -> Response:
        """A response with the data as the body and the rest in headers."""
    @staticmethod
    def batch(events: Iterable[CloudEvent]) -> Response:
        """A response with many of them."""

class EventDeserializerKinds(Enum):
    """In which form a message is."""

    msgpack = ...
    msgpack_raw = ...
    json = ...

class QualifiedOffset:
    """Which record of a stream."""

    topic: str
    partition: int
    offset: int
    def __init__(self, topic: str, partition: int, offset: int) -> None: ...
    @classmethod
    def from_event(cls, event: Event) -> QualifiedOffset: ...
    def compile_explicit_ack_message(self) -> dict[str, Any]: ...

class ExceptionWithResponse(IOError):
    """Raised by a handler: the client gets this status and body."""

    def __init__(
        self, status_code: int, body: Any = None, content_type: str | None = None
    ) -> None: ...
    @property
    def status_code(self) -> int: ...
    @property
    def body(self) -> Any: ...
    @property
    def content_type(self) -> str | None: ...

class Response:
    """An answer with status, headers and content type."""

    headers: Any
    body: Any
    content_type: str
    status_code: int
    event_id: str | None
    def __init__(
        self,
        headers: Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None,
        body: Any = None,
        content_type: str | None = None,
        status_code: int | None = None,
        event_id: str | None = None,
    ) -> None: ...
    def ensure_no_ack(self) -> None: ...
    @staticmethod
    def cloudevent(
        event: CloudEvent | Iterable[CloudEvent], mode: Literal["structured", "binary"] = ...
    ) -> Response:
        """A response that carries one CloudEvent, or a list of them as a batch."""
    @staticmethod
    def empty_response() -> dict[str, Any]: ...
    @staticmethod
    def from_entrypoint_output(
        json_encoder: Callable[[Any], str], handler_output: Any
    ) -> dict[str, Any]: ...
    @staticmethod
    def get_handler_output_type(handler_output: Any) -> str: ...

class Logger:
    @overload
    def __init__(self, level: str | None = None, name: str | None = None) -> None: ...
    @overload
    def __init__(self, level: int, name: str | None = None) -> None: ...
    def debug(self, message: object, *args: object) -> None: ...
    def info(self, message: object, *args: object) -> None: ...
    def warn(self, message: object, *args: object) -> None: ...
    def warning(self, message: object, *args: object) -> None: ...
    def error(self, message: object, *args: object) -> None: ...
    def debug_with(self, message: object, *args: object, **fields: object) -> None: ...
    def info_with(self, message: object, *args: object, **fields: object) -> None: ...
    def warn_with(self, message: object, *args: object, **fields: object) -> None: ...
    def warning_with(self, message: object, *args: object, **fields: object) -> None: ...
    def error_with(self, message: object, *args: object, **fields: object) -> None: ...
    def bind(self, **fields: object) -> None: ...
    def set_level(self, level: str | int) -> None: ...
    def set_handler(self, handler_name: str, file: Any, formatter: Any) -> None:
        """Without a processor, in a test: where records go and in which form."""

class Retry(Exception):
    after: float
    def __init__(self, after: float = 0.0) -> None: ...

class Reject(Exception):
    reason: str
    def __init__(self, reason: str = "") -> None: ...

class Platform:
    kind: str
    namespace: str
    def __init__(self, kind: str = "local", namespace: str = "default") -> None: ...
    def set_termination_callback(self, callback: Callable[[], object]) -> None: ...
    def set_drain_callback(self, callback: Callable[[], object]) -> None: ...
    def call_function(
        self,
        function_name: str,
        event: Event,
        node: str | None = None,
        timeout: float | None = None,
        service_name_override: str | None = None,
    ) -> Response:
        """Sends an event to another function and waits for its answer; `timeout` in seconds."""
    async def call_function_async(
        self,
        function_name: str,
        event: Event,
        node: str | None = None,
        timeout: float | None = None,
        service_name_override: str | None = None,
    ) -> Response:
        """As `call_function`; other events go on meanwhile."""
    async def explicit_ack(self, qualified_offset: QualifiedOffset) -> None: ...

class Context:
    logger: Logger
    platform: Platform
    user_data: SimpleNamespace
    worker_id: int | None
    trigger: TriggerInfo
    trigger_name: str
    function_name: str
    function_version: str
    Response: type[Response]
    def __init__(
        self,
        logger: Logger | None = None,
        platform: Platform | None = None,
        worker_id: int | None = None,
        trigger: TriggerInfo | None = None,
        function_name: str = "",
        function_version: str = "",
        namespace: str = "default",
    ) -> None: ...
    @property
    def deadline(self) -> float | None:
        """When the answer to the current event is due, on the clock of `time.monotonic()`."""
    def retry(self, after: float = 0.0) -> Retry: ...
    def reject(self, reason: str = "") -> Reject: ...
