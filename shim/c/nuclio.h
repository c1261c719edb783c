/* The worker's side of nuclio's shared-memory protocol, for any language that can call C.
 *
 * Made from shim/c/src by `cargo xtask codegen`; do not edit. README.md beside it says how the
 * functions go together.
 */

#ifndef NUCLIO_H
#define NUCLIO_H

#include <stddef.h>
#include <stdint.h>

// It worked.
#define NUCLIO_OK 0

// There is none: nothing to do, no such field.
#define NUCLIO_NONE 1

// An argument is wrong; nothing was done.
#define NUCLIO_INVALID -1

// The processor is gone: end the process.
#define NUCLIO_GONE -2

// The connection cannot go on: end the process.
#define NUCLIO_FAILED -3

// A fault of this library: end the process.
#define NUCLIO_PANIC -4

// Kinds of `nuclio_down`: run the handler.
#define NUCLIO_DOWN_EVENT 1

// The processor no longer waits for the event `claim`.
#define NUCLIO_DOWN_CANCEL 2

// Run the drain callback of `trigger`, then call nuclio_drained.
#define NUCLIO_DOWN_DRAIN 3

// Finish what is in flight and exit.
#define NUCLIO_DOWN_STOP 4

// Fields of nuclio_event_text.
#define NUCLIO_FIELD_ID 1

// Such as POST.
#define NUCLIO_FIELD_METHOD 2

// Without the query, as it came.
#define NUCLIO_FIELD_PATH 3

// Without the question mark, as it came.
#define NUCLIO_FIELD_QUERY 4

// Of the body.
#define NUCLIO_FIELD_CONTENT_TYPE 5

// Of a stream record.
#define NUCLIO_FIELD_KEY 6

// Topic, queue or stream.
#define NUCLIO_FIELD_TOPIC 7

// W3C trace context.
#define NUCLIO_FIELD_TRACEPARENT 8

// Outcomes of a reply: the handler answered.
#define NUCLIO_OUTCOME_OK 1

// The handler failed.
#define NUCLIO_OUTCOME_ERROR 2

// Once more, after `retry_after_ns`.
#define NUCLIO_OUTCOME_RETRY 3

// Never again.
#define NUCLIO_OUTCOME_REJECT 4

// Content types of a reply: given among its headers, or none.
#define NUCLIO_CONTENT_NONE 0

// text/plain
#define NUCLIO_CONTENT_TEXT 1

// application/json
#define NUCLIO_CONTENT_JSON 2

// application/octet-stream
#define NUCLIO_CONTENT_BYTES 3

// text/html
#define NUCLIO_CONTENT_HTML 4

// Levels and origins of log records.
#define NUCLIO_LOG_DEBUG 0

// For who runs the function.
#define NUCLIO_LOG_INFO 1

// Something is off.
#define NUCLIO_LOG_WARN 2

// Something failed.
#define NUCLIO_LOG_ERROR 3

// The record comes from a logger.
#define NUCLIO_ORIGIN_LOGGER 0

// From standard output.
#define NUCLIO_ORIGIN_STDOUT 1

// From standard error.
#define NUCLIO_ORIGIN_STDERR 2

// The trace of a failed handler.
#define NUCLIO_ORIGIN_TRACEBACK 3

// An event, and the right to look at its memory.
typedef struct nuclio_event nuclio_event;

// One connection to the processor.
typedef struct nuclio_worker nuclio_worker;

// Bytes that belong to somebody else; not ended by zero.
typedef struct {
    // May be null if `length` is 0.
    const uint8_t *data;
    // Their number.
    size_t length;
} nuclio_bytes;

// What came down.
typedef struct {
    // One of NUCLIO_DOWN_...
    uint32_t kind;
    // With DRAIN.
    uint32_t trigger;
    // With EVENT and CANCEL.
    uint64_t claim;
    // With EVENT; yours until it is answered without `keep`, or released.
    nuclio_event *event;
    // With EVENT: events of its batch, each of which is answered by itself; 0 = it is in none.
    uint32_t batch;
    // With EVENT: so many of the next ones are of the same batch.
    uint32_t more;
} nuclio_down;

// The numbers of an event.
typedef struct {
    // Names the event in nuclio_log and nuclio_is_cancelled.
    uint64_t claim;
    // When the answer is due on CLOCK_MONOTONIC; 0 = no limit.
    uint64_t deadline_ns;
    // Arrival, since the epoch.
    uint64_t timestamp_ns;
    // Position in its partition.
    uint64_t offset;
    // Bytes of the body.
    uint64_t body_bytes;
    // Partition of a stream.
    uint32_t partition;
    // Shard as nuclio counts them.
    uint32_t shard;
    // Lines for nuclio_event_header.
    uint32_t header_count;
    // The first is 1.
    uint32_t attempt;
    // Number of the trigger, as in the setting `trigger.N.name`.
    uint16_t trigger;
    // 1 HTTP, 2 stream, 3 queue, 4 schedule, 5 polling, 6 asynchronous.
    uint8_t kind;
    // The lowest level of log records that the client wants with its reply; 255 = none.
    uint8_t wanted_level;
} nuclio_numbers;

// One header of a reply.
typedef struct {
    // Its name.
    nuclio_bytes name;
    // Its value.
    nuclio_bytes value;
} nuclio_header_line;

// An answer; all zero but `status` and `outcome` is a good start.
typedef struct {
    // HTTP status, 100 to 599; 0 where the outcome has none.
    uint16_t status;
    // One of NUCLIO_OUTCOME_...
    uint8_t outcome;
    // One of NUCLIO_CONTENT_...
    uint8_t content_type;
    // 1 = the event is looked at later and given back by nuclio_release; else it ends here.
    uint8_t keep;
    // Zero.
    uint8_t reserved[3];
    // How many headers.
    size_t header_count;
    // The headers.
    const nuclio_header_line *headers;
    // The body; a part of the event's own body is sent from where it is.
    nuclio_bytes body;
    // With the outcome RETRY.
    uint64_t retry_after_ns;
} nuclio_answer;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Version of the protocol: major << 16 | minor. A header with another major version does not fit.
uint32_t nuclio_abi_version(void);

// What the last error of this thread was, in words; never null, good until the next error.
const char *nuclio_last_error(void);

// Attaches to the processor that started this process. `runtime` is the language, `version` its
// version. On NUCLIO_OK `*worker` is the connection, one a process.
int32_t nuclio_attach(const char *runtime, const char *version, nuclio_worker **worker);

// Ends the connection; null is nothing. Events must have been given back.
void nuclio_detach(nuclio_worker *worker);

// What the processor told about the function, by name: `function`, `namespace`, `version`,
// `description`, `handler`, `code_path`, `worker_id`, `max_inflight`, `event_timeout_ns`,
// `log_level`, `trigger.N.kind`, `trigger.N.name`, and `settings.NAME`. NUCLIO_NONE if it is not
// there. The bytes stay until nuclio_detach.
int32_t nuclio_offer(const nuclio_worker *worker, const char *name, nuclio_bytes *out);

// The user's code is loaded: events may come, at most `concurrency` at once.
int32_t nuclio_ready(nuclio_worker *worker, uint32_t concurrency);

// The user's code cannot be loaded; `usage` = 1 if it cannot be a function as it stands, 0 if it
// ran and failed. Poll on until STOP: the processor ends the process.
int32_t nuclio_init_failed(nuclio_worker *worker,
                           int32_t usage,
                           const uint8_t *text,
                           size_t length);

// The next thing to do, in `*down`; NUCLIO_NONE if there is nothing now.
int32_t nuclio_poll(nuclio_worker *worker, nuclio_down *down);

// Says that the worker will sleep: NUCLIO_OK if it may, NUCLIO_NONE if it must poll again.
int32_t nuclio_arm(nuclio_worker *worker);

// Sleeps until the bell rings; only after nuclio_arm has said NUCLIO_OK. NUCLIO_GONE when the
// processor is gone.
int32_t nuclio_sleep(nuclio_worker *worker);

// The bell's descriptor, for an event loop that waits by itself: poll and arm behind everything you
// did, wait until it is readable, then call nuclio_take_ring. Negative for an error.
int32_t nuclio_bell(const nuclio_worker *worker);

// Reads the bell of nuclio_bell after it was readable; never waits, since a large reply may have
// read it meanwhile. NUCLIO_GONE when the processor is gone.
int32_t nuclio_take_ring(nuclio_worker *worker);

// The numbers of an event.
int32_t nuclio_event_numbers(const nuclio_event *event, nuclio_numbers *out);

// One text of an event, NUCLIO_FIELD_...; NUCLIO_NONE and no bytes if the event has none. All bytes
// of an event stay until it is given back.
int32_t nuclio_event_text(const nuclio_event *event, uint32_t field, nuclio_bytes *out);

// Name and value of header line `index`, in the order they came; NUCLIO_NONE behind the last.
int32_t nuclio_event_header(const nuclio_event *event,
                            uint32_t index,
                            nuclio_bytes *name,
                            nuclio_bytes *value);

// The first value of the header with this name, in any case; NUCLIO_NONE if there is none.
int32_t nuclio_event_header_named(const nuclio_event *event, const char *name, nuclio_bytes *value);

// The whole body. Nearly always where it lies in shared memory; gathered once if it is in pieces.
int32_t nuclio_event_body(const nuclio_event *event, nuclio_bytes *out);

// Piece `index` of the body, where it lies; NUCLIO_NONE behind the last.
int32_t nuclio_event_body_piece(const nuclio_event *event, uint32_t index, nuclio_bytes *out);

// Answers an event. Unless `keep` is set the event is gone afterwards, whatever the result is but
// NUCLIO_INVALID. May wait until the processor gives memory for a large body.
int32_t nuclio_reply(nuclio_worker *worker, nuclio_event *event, const nuclio_answer *reply);

// Begins an answer whose length is not known; its body is not looked at. NUCLIO_NONE if there is no
// room: nuclio_take_controls, and once more. As with nuclio_reply the event is then gone, unless
// `keep` is set; pieces and the end go by its claim.
int32_t nuclio_stream_begin(nuclio_worker *worker, nuclio_event *event, const nuclio_answer *reply);

// Sends what there is room for of `piece`; `*sent` = how many bytes that was. NUCLIO_NONE if it was
// none: nuclio_take_controls, and once more. A client that has left is told by
// nuclio_is_cancelled.
int32_t nuclio_stream_piece(nuclio_worker *worker,
                            uint64_t claim,
                            const nuclio_bytes *piece,
                            size_t *sent);

// Ends an answer in pieces; `broken` = 1 if the client must not take it for whole.
int32_t nuclio_stream_end(nuclio_worker *worker, uint64_t claim, int32_t broken);

// For a stream that must wait: works off what has come down but events, which nuclio_poll gives
// later. NUCLIO_OK if there was something; NUCLIO_NONE if the bell must be waited for, by
// nuclio_sleep or by an event loop and nuclio_take_ring.
int32_t nuclio_take_controls(nuclio_worker *worker);

// Gives an event back that was answered with `keep`.
int32_t nuclio_release(nuclio_worker *worker, nuclio_event *event);

// Writes a log record of the event `claim` (0 = none); `fields` is the text of a JSON object, or
// empty. Never waits: without room the record is dropped and counted.
int32_t nuclio_log(nuclio_worker *worker,
                   uint8_t level,
                   uint8_t origin,
                   uint64_t claim,
                   const nuclio_bytes *message,
                   const nuclio_bytes *fields);

// 1 if the processor no longer waits for this event, 0 if it does.
int32_t nuclio_is_cancelled(const nuclio_worker *worker, uint64_t claim);

// Says that the drain callback of a trigger has run.
int32_t nuclio_drained(nuclio_worker *worker, uint32_t trigger);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NUCLIO_H */
