#!/bin/sh
# on_host.sh HOST COMMAND ARGUMENTS...: runs the command in the network namespace HOST, with HOST as its host name, so that
# Open MPI takes each namespace for a machine of its own.
host="$1"
shift
exec ip netns exec "$host" unshare --uts sh -c 'hostname "$1" && shift && exec "$@"' sh "$host" "$@"
