#!/bin/sh
# @nuclio.configure
#
# function.yaml:
#   spec:
#     runtimeAttributes:
#       mode: resident
#       eventFields: [body]
#
# Answers hello; one process for all events.
while read -r _; do
    echo '{"body":"hello"}'
done
