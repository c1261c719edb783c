#!/bin/sh
# Makes the peers' virtual environment, target/peers-venv, and says of each peer whether it is there.
#
# PEERS_PYTHON: the interpreter to use (default python3; 3.11 or later). PEERS_VENV: another folder.
# A peer that cannot be installed does not stop the others: peers.tsv in that folder lists it with
# the reason, and `compare` shows that in its table.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PEERS_PYTHON:-python3}
venv=${PEERS_VENV:-$root/target/peers-venv}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "peers: $python is older than Python 3.11; name a newer one in PEERS_PYTHON" >&2
    exit 2
}
"$python" -m venv "$venv"
: > "$venv/peers.tsv.new"

# install NAME VERSION [MORE...]: NAME is the peer, MORE what it needs to be at its fastest.
install() {
    name=$1 version=$2
    shift 2
    log=$venv/setup-$name.log
    if "$venv/bin/python" -m pip install --disable-pip-version-check \
        "$name==$version" "$@" > "$log" 2>&1; then
        result=ok
    else
        result=$(grep -i error "$log" | tail -n 1 | tr '\t' ' ')
        result=${result:-pip failed}
    fi
    printf '%s\t%s\t%s\n' "$name" "$version" "$result" >> "$venv/peers.tsv.new"
    printf 'peers: %s %s: %s\n' "$name" "$version" "$result"
}

install granian 2.8.7 uvloop==0.22.1
install uvicorn 0.54.0 uvloop==0.22.1 httptools==0.9.0
install socketify 0.0.31

# install_node NAME VERSION: with npm, beside the Python packages.
install_node() {
    log=$venv/setup-$1.log
    if npm install --no-audit --no-fund --prefix "$venv" "$1@$2" > "$log" 2>&1; then
        result=ok
    else
        result=$(grep -i error "$log" | head -n 1 | tr '\t' ' ')
        result=${result:-npm failed}
    fi
    printf '%s\t%s\t%s\n' "$1" "$2" "$result" >> "$venv/peers.tsv.new"
    printf 'peers: %s %s: %s\n' "$1" "$2" "$result"
}

install_node fastify 5

mv "$venv/peers.tsv.new" "$venv/peers.tsv"
