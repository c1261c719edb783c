#!/bin/sh
# @nuclio.configure
#
# function.yaml:
#   spec:
#     runtimeAttributes:
#       mode: resident
#       eventFields: [body]
#
# One process answers all events, and so can count them: a line is an event, a line is its reply.
count=0
while read -r event; do
    count=$((count + 1))
    echo "{\"body\": {\"events\": $count}}"
done
