/* Greets: cc -shared -fPIC -O2 -I runtimes/native -o hello.so hello.c, then nuclio run hello.so */
#include <stdio.h>
#include <stdlib.h>

#include "nuclio_handler.h"

int nuclio_handle(const nuclio_context *context, const nuclio_event *event,
                  nuclio_response *response)
{
    nuclio_bytes path;
    char *text = malloc(256);

    if (text == NULL) return 1;
    context->api->text(event, NUCLIO_TEXT_PATH, &path);
    response->body.length =
        (size_t)snprintf(text, 256, "Hello from C at %.*s!\n",
                         (int)(path.length < 200 ? path.length : 200), (const char *)path.data);
    response->body.data = (const uint8_t *)text;
    response->owner = text;
    response->release = free;
    return 0;
}
