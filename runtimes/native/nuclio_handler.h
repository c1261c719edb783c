/* What a handler in a shared library exports, and what it can ask the worker for.
 *
 *     int nuclio_handle(const nuclio_context *, const nuclio_event *, nuclio_response *);
 *     int nuclio_init(nuclio_context *, nuclio_response *problem);        (may be left out)
 *     uint32_t nuclio_handler_abi(void) { return NUCLIO_HANDLER_ABI; }    (may be left out)
 *
 * Made from sdk/rust/src/abi.rs by `cargo xtask codegen`; do not edit. README.md beside it has an
 * example.
 */

#ifndef NUCLIO_HANDLER_H
#define NUCLIO_HANDLER_H

#include <stddef.h>
#include <stdint.h>

// Version of this header: major << 16 | minor. Another major version is refused.
#define NUCLIO_HANDLER_ABI (1 << 16)

// The value is there.
#define NUCLIO_HANDLER_OK 0

// There is none.
#define NUCLIO_HANDLER_NONE 1

// Fields of `text`: the event's id.
#define NUCLIO_TEXT_ID 1

// Such as POST.
#define NUCLIO_TEXT_METHOD 2

// Without the query, as it came.
#define NUCLIO_TEXT_PATH 3

// Without the question mark, as it came.
#define NUCLIO_TEXT_QUERY 4

// Of the body.
#define NUCLIO_TEXT_CONTENT_TYPE 5

// Of a stream record.
#define NUCLIO_TEXT_KEY 6

// Topic, queue or stream.
#define NUCLIO_TEXT_TOPIC 7

// W3C trace context.
#define NUCLIO_TEXT_TRACEPARENT 8

// Kind of the trigger, such as http.
#define NUCLIO_TEXT_TRIGGER_KIND 9

// Name of the trigger.
#define NUCLIO_TEXT_TRIGGER_NAME 10

// An event; good until the handler returns.
typedef struct {
    // Not for handlers.
    const void *hidden;
} nuclio_event;

// Bytes that belong to somebody else; not ended by zero.
typedef struct {
    // May be null if `length` is 0.
    const uint8_t *data;
    // Their number.
    size_t length;
} nuclio_bytes;

// The numbers of an event.
typedef struct {
    // Arrival, nanoseconds since the epoch.
    uint64_t timestamp_ns;
    // When the answer is due on CLOCK_MONOTONIC; 0 = no limit.
    uint64_t deadline_ns;
    // Position in its partition.
    uint64_t offset;
    // Bytes of the body.
    uint64_t body_bytes;
    // Partition of a stream.
    uint32_t partition;
    // Shard as nuclio counts them.
    uint32_t shard;
    // Lines for `header`.
    uint32_t header_count;
    // The first is 1.
    uint32_t attempt;
    // 1 HTTP, 2 stream, 3 queue, 4 schedule, 5 polling, 6 asynchronous.
    uint32_t kind;
    // Zero.
    uint32_t reserved;
} nuclio_numbers;

// What a handler can ask the worker for. Later versions add functions at the end; `size` tells.
typedef struct {
    // Bytes of this structure.
    size_t size;
    // One text of an event, NUCLIO_TEXT_...
    int32_t (*text)(const nuclio_event *event, uint32_t field, nuclio_bytes *out);
    // The numbers of an event.
    int32_t (*numbers)(const nuclio_event *event, nuclio_numbers *out);
    // Header line `index`, in the order they came.
    int32_t (*header)(const nuclio_event *event,
                      uint32_t index,
                      nuclio_bytes *name,
                      nuclio_bytes *value);
    // The first value of the header with this name, in any case.
    int32_t (*header_named)(const nuclio_event *event, nuclio_bytes name, nuclio_bytes *value);
    // The body, nearly always where it lies in shared memory.
    int32_t (*body)(const nuclio_event *event, nuclio_bytes *out);
    // 1 if the processor no longer waits for the event.
    int32_t (*is_cancelled)(const nuclio_event *event);
    // Nanoseconds until the answer is due, 0 if it is overdue, -1 without a limit.
    int64_t (*time_left_ns)(const nuclio_event *event);
    // Writes a record of level 0 to 3 and origin 0 (logger) or 3 (trace of a failure); `fields` is
    // the text of a JSON object or empty.
    void (*log)(uint8_t level, uint8_t origin, nuclio_bytes message, nuclio_bytes fields);
    // What the processor told about the function: `function`, `namespace`, `version`, `handler`,
    // `code_path`, `settings.NAME`.
    int32_t (*told)(nuclio_bytes name, nuclio_bytes *out);
    // The lowest level that is recorded now: that of the function, or lower if the client of the
    // event asked for its records.
    uint32_t (*wanted_level)(void);
} nuclio_api;

// What a handler is called with besides the event; the same in each call. Use it, and events, on
// the thread of the call only.
typedef struct {
    // What can be asked for.
    const nuclio_api *api;
    // The handler's own; null at the start.
    void *user_data;
    // Number of the worker.
    uint32_t worker_id;
    // Lowest level that is logged: 0 debug to 3 error.
    uint32_t log_level;
} nuclio_context;

// One header of a response.
typedef struct {
    // Its name.
    nuclio_bytes name;
    // Its value.
    nuclio_bytes value;
} nuclio_header_line;

// The answer. It comes as 200 without a body; what it points to must stay until `release` is
// called, or for ever if that is null.
typedef struct {
    // HTTP status, 100 to 599.
    uint16_t status;
    // 1 answered, 2 failed, 3 once more after `retry_after_ns`, 4 never again.
    uint8_t outcome;
    // 0 among the headers or none, 1 text, 2 JSON, 3 bytes, 4 HTML.
    uint8_t content_type;
    // Zero.
    uint32_t reserved;
    // How many headers.
    size_t header_count;
    // The headers.
    const nuclio_header_line *headers;
    // The body; a part of the event's own body is sent from where it is.
    nuclio_bytes body;
    // With the outcome 3.
    uint64_t retry_after_ns;
    // Given to `release`.
    void *owner;
    // Called once when the answer has been sent.
    void (*release)(void *owner);
} nuclio_response;

// `int nuclio_handle(...)`: what a library must export, or the name that the handler setting says.
// Any value but 0 fails the event with the response's body as the reason.
typedef int32_t (*nuclio_handle_function)(const nuclio_context *context,
                                          const nuclio_event *event,
                                          nuclio_response *response);

// `int nuclio_init(...)`: called once before the first event, if the library exports it. Any value
// but 0 says that the function cannot be served; `problem->body` tells why.
typedef int32_t (*nuclio_init_function)(nuclio_context *context, nuclio_response *problem);

// `uint32_t nuclio_handler_abi(void)`: if the library exports it, NUCLIO_HANDLER_ABI as it was when
// it was built.
typedef uint32_t (*nuclio_handler_abi_function)(void);

#endif  /* NUCLIO_HANDLER_H */
