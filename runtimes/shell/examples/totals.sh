#!/usr/bin/env bash
# @nuclio.configure
#
# function.yaml:
#   spec:
#     runtimeAttributes:
#       stderr: separate
#       responseHeaders:
#         Content-Type: application/json
#
# What each customer ordered, the largest sum first. The body is a file of JSON lines:
# {"customer": "Ada", "price": 3, "count": 2}
set -eo pipefail
jq -c '{customer, sum: (.price * .count)}' |
    jq -sc 'group_by(.customer) | map({customer: .[0].customer, sum: (map(.sum) | add)})
            | sort_by(-.sum)'
