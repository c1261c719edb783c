/* One event at a time; notes each execution, then does as the path says, as deeds.py does. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nuclio_handler.h"

enum { PATH_BYTES = 21, NOTE_BYTES = 24 };

static int notes = -1;

int nuclio_init(nuclio_context *context, nuclio_response *problem)
{
    static const char why[] = "LEDGER_NOTES cannot be written to";
    const char *folder = getenv("LEDGER_NOTES");
    char path[4096];

    (void)context;
    snprintf(path, sizeof path, "%s/%d.notes", folder ? folder : "", (int)getpid());
    notes = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    problem->body.data = (const uint8_t *)why;
    problem->body.length = sizeof why - 1;
    return notes < 0;
}

/* One system call, so that a note is there or not there. */
static int note(uint64_t number, uint32_t attempt)
{
    unsigned char record[NOTE_BYTES];
    uint32_t pid = (uint32_t)getpid();
    struct timespec now;
    uint64_t ns;

    clock_gettime(CLOCK_MONOTONIC, &now);
    ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    memcpy(record, &number, 8);
    memcpy(record + 8, &ns, 8);
    memcpy(record + 16, &pid, 4);
    memcpy(record + 20, &attempt, 4);
    return write(notes, record, NOTE_BYTES) != NOTE_BYTES;
}

int nuclio_handle(const nuclio_context *context, const nuclio_event *event,
                  nuclio_response *response)
{
    static nuclio_header_line line;
    static char told[PATH_BYTES + 1];
    nuclio_numbers numbers;
    nuclio_bytes path, body;
    uint64_t number;
    char answer, deed;
    uint8_t *reply;

    context->api->text(event, NUCLIO_TEXT_PATH, &path);
    context->api->numbers(event, &numbers);
    context->api->body(event, &body);
    if (path.length != PATH_BYTES) return 1;
    memcpy(told, path.data, PATH_BYTES);
    number = strtoull(told + 1, NULL, 16);
    answer = told[18];
    deed = numbers.attempt > 1 && told[20] != '2' ? 'n' : told[19];
    if (deed == 'u') kill(getpid(), SIGKILL);
    if (note(number, numbers.attempt)) return 1;
    if (deed == 'k') kill(getpid(), SIGKILL);
    if (deed == 's') kill(getpid(), SIGSTOP);
    if (deed == 'd') usleep((useconds_t)(1 + number % 5) * 1000);
    if (deed == 'l') kill(getpid(), SIGKILL);
    if (answer == 'e') {
        response->body = body;
        return 0;
    }
    reply = malloc(PATH_BYTES + 1 + body.length);
    if (reply == NULL) return 1;
    memcpy(reply, told, PATH_BYTES);
    reply[PATH_BYTES] = '\n';
    if (body.length > 0) memcpy(reply + PATH_BYTES + 1, body.data, body.length);
    response->body.data = reply;
    response->body.length = PATH_BYTES + 1 + body.length;
    response->owner = reply;
    response->release = free;
    if (answer == 'h') {
        line.name.data = (const uint8_t *)"X-Ledger";
        line.name.length = 8;
        line.value.data = (const uint8_t *)told;
        line.value.length = PATH_BYTES;
        response->headers = &line;
        response->header_count = 1;
    }
    return 0;
}
