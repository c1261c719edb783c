#!/bin/sh
# A process an event; notes the execution, then does as the path says, as deeds.py does. Its worker
# is the one that dies and is stopped, and whose the note is.
path=$NUCLIO_EVENT_PATH
id=${path#/}
id=${id%%/*}
letters=${path##*/}
answer=${letters%??}
deed=${letters#?}
deed=${deed%?}

# A worker that is dead already would leave us to its own parent, which must not be hit.
read -r name <"/proc/$PPID/comm"
[ "$name" = nuclio-shell ] || exit 1

strike() {
    kill "-$1" "$PPID"
    exec sleep 600
}

[ "$deed" != u ] || strike KILL
read -r uptime rest </proc/uptime
# One system call, so that a note is there or not there.
echo "$id $uptime $PPID" >>"$LEDGER_NOTES/$PPID.uptime"
case $deed in
k) strike KILL ;;
s) strike STOP ;;
d) sleep "0.00$((1 + 0x$id % 5))" ;;
x) kill -KILL $$ ;;
g) sleep 600 </dev/null >/dev/null 2>&1 & ;;
esac
[ "$answer" = e ] || printf '%s\n' "$path"
[ "$NUCLIO_EVENT_METHOD" = GET ] || cat
[ "$deed" != l ] || strike KILL
