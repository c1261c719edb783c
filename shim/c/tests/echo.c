/* A worker in C: echoes bodies and headers, logs, fails when asked. Compiled by the black-box tests. */
#include <stdio.h>
#include <string.h>

#include "nuclio.h"

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, nuclio_last_error());
    return 1;
}

static int is(nuclio_bytes bytes, const char *text)
{
    return bytes.length == strlen(text) && memcmp(bytes.data, text, bytes.length) == 0;
}

static nuclio_bytes of(const char *text)
{
    nuclio_bytes bytes = {(const uint8_t *)text, strlen(text)};
    return bytes;
}

/* Arguments that make no sense are refused and change nothing. */
static int refuses_nonsense(nuclio_worker *worker, nuclio_event *event)
{
    nuclio_answer answer;
    nuclio_bytes nothing = {0}, torn = {0, 5}, out;
    memset(&answer, 0, sizeof answer);
    answer.outcome = NUCLIO_OUTCOME_OK;
    answer.status = 9;
    if (nuclio_reply(worker, event, &answer) != NUCLIO_INVALID) return 0;
    answer.status = 200;
    answer.body = torn;
    if (nuclio_reply(worker, event, &answer) != NUCLIO_INVALID) return 0;
    answer.body = nothing;
    answer.outcome = 77;
    if (nuclio_reply(worker, event, &answer) != NUCLIO_INVALID) return 0;
    if (nuclio_reply(worker, NULL, &answer) != NUCLIO_INVALID) return 0;
    if (nuclio_poll(NULL, NULL) != NUCLIO_INVALID) return 0;
    if (nuclio_event_text(event, 99, &out) != NUCLIO_INVALID) return 0;
    if (nuclio_event_text(event, NUCLIO_FIELD_ID, NULL) != NUCLIO_INVALID) return 0;
    if (nuclio_log(worker, 9, 0, 0, &nothing, NULL) != NUCLIO_INVALID) return 0;
    if (nuclio_offer(worker, "no such thing", &out) != NUCLIO_NONE) return 0;
    return strlen(nuclio_last_error()) > 0;
}

static int handle(nuclio_worker *worker, nuclio_event *event)
{
    nuclio_answer answer;
    nuclio_header_line line;
    nuclio_numbers numbers;
    nuclio_bytes path, value, nothing = {0};
    char text[64];

    memset(&answer, 0, sizeof answer);
    answer.status = 200;
    answer.outcome = NUCLIO_OUTCOME_OK;
    answer.content_type = NUCLIO_CONTENT_BYTES;
    nuclio_event_text(event, NUCLIO_FIELD_PATH, &path);
    nuclio_event_numbers(event, &numbers);
    nuclio_event_body(event, &answer.body);
    if (is(path, "/header") && nuclio_event_header_named(event, "x-asked", &value) == NUCLIO_OK) {
        line.name = of("X-Answered");
        line.value = value;
        answer.headers = &line;
        answer.header_count = 1;
    } else if (is(path, "/log")) {
        value = of("from C");
        nuclio_log(worker, NUCLIO_LOG_WARN, NUCLIO_ORIGIN_LOGGER, numbers.claim, &value, &nothing);
    } else if (is(path, "/fail")) {
        answer.outcome = NUCLIO_OUTCOME_ERROR;
        answer.status = 500;
        answer.body = of("failed as asked");
    } else if (is(path, "/nonsense")) {
        answer.body = of(refuses_nonsense(worker, event) ? "refused" : "taken");
    } else if (is(path, "/keep")) {
        answer.keep = 1;
    } else if (is(path, "/id")) {
        nuclio_event_text(event, NUCLIO_FIELD_ID, &value);
        snprintf(text, sizeof text, "%.*s", (int)value.length, (const char *)value.data);
        answer.body = of(text);
    }
    if (nuclio_reply(worker, event, &answer) != NUCLIO_OK) return failed("reply");
    if (answer.keep && nuclio_release(worker, event) != NUCLIO_OK) return failed("release");
    return 0;
}

int main(void)
{
    nuclio_worker *worker;
    nuclio_down down;
    int code;

    if (nuclio_abi_version() >> 16 != 1) return failed("version");
    if (nuclio_attach("c", "11", &worker) != NUCLIO_OK) return failed("attach");
    if (nuclio_ready(worker, 1) != NUCLIO_OK) return failed("ready");
    for (;;) {
        code = nuclio_poll(worker, &down);
        if (code < 0) return failed("poll");
        if (code == NUCLIO_NONE) {
            if (nuclio_arm(worker) != NUCLIO_OK) continue;
            code = nuclio_sleep(worker);
            if (code == NUCLIO_GONE) return 0;
            if (code != NUCLIO_OK) return failed("sleep");
        } else if (down.kind == NUCLIO_DOWN_EVENT) {
            if (handle(worker, down.event)) return 1;
        } else if (down.kind == NUCLIO_DOWN_DRAIN) {
            nuclio_drained(worker, down.trigger);
        } else if (down.kind == NUCLIO_DOWN_STOP) {
            nuclio_detach(worker);
            return 0;
        }
    }
}
