#!/bin/sh
# What mpirun calls in place of ssh: rsh_agent.sh HOST WORD...; as with ssh, the words are one shell command.
host="$1"
shift
exec "$(dirname "$0")/on_host.sh" "$host" sh -c "$*"
