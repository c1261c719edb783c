#!/bin/sh
# What the conformance kit asks of a script, one process an event; see runtimes/conformance/README.md.
word=${NUCLIO_EVENT_PATH#/}
argument=${word#*/}
case $word in
error) echo "failed on purpose"; exit 3 ;;
print) echo "printed by the handler" >&2 ;;
logs/*)
    number=0
    while [ "$number" -lt "$argument" ]; do
        number=$((number + 1))
        echo "one of many records, each as long as this: $number" >&2
    done ;;
size/*) head -c "$argument" /dev/zero | tr '\000' x ;;
sleep) sleep 0.2; cat ;;
hang) sleep 300 ;;
*) cat ;;
esac
