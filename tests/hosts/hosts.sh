# Test hosts on one machine, to be sourced: network namespaces joined by a bridge in a namespace of its own, with
# names, addresses and links as real hosts have. Needs root, iproute2 (ip, tc) and util-linux (unshare).
#
#   hosts_check            returns 1 and says why where this machine does not let us
#   hosts_up COUNT [RATE]  brings up COUNT hosts, e.g. RATE=1gbit for each host's link in both directions
#   hosts_mpirun "H1:SLOTS,H2:SLOTS" ARGUMENTS...   mpirun over the hosts numbered so (1 is the first), started on the first named
#   hosts_down             takes all of it down; hosts_up sets a trap that calls it
#
# Everything lives in the namespaces: no interface, route or address of the machine is touched, and no traffic leaves.
# Names carry this shell's process id, and what a killed run left behind is cleared by the next one.

hosts_prefix="temper-hosts-"
hosts_subnet=10.77.7
hosts_here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

hosts_name() { printf '%s%d-%s' "$hosts_prefix" $$ "$1"; }

hosts_remove() {
  local pids
  pids="$(ip netns pids "$1" 2>/dev/null)" || true
  # shellcheck disable=SC2086
  if [ -n "$pids" ]; then kill -9 $pids 2>/dev/null || true; fi
  ip netns del "$1" 2>/dev/null || true
}

hosts_down() {
  local name
  for name in $(ip netns list 2>/dev/null | cut -d' ' -f1 | grep "^$hosts_prefix$$-" || true); do hosts_remove "$name"; done
}

hosts_clear_stale() {
  local name owner
  for name in $(ip netns list 2>/dev/null | cut -d' ' -f1 | grep "^$hosts_prefix" || true); do
    owner="${name#"$hosts_prefix"}"
    owner="${owner%%-*}"
    kill -0 "$owner" 2>/dev/null || hosts_remove "$name"
  done
}

hosts_check() {
  local tool probe
  for tool in ip tc unshare hostname; do
    command -v "$tool" >/dev/null || { echo "no test hosts: $tool is not installed (Debian: iproute2, util-linux, hostname)"; return 1; }
  done
  [ "$(id -u)" -eq 0 ] || { echo "no test hosts: network namespaces need root"; return 1; }
  probe="$(hosts_name check)"
  if ! ip netns add "$probe" 2>/dev/null; then
    echo "no test hosts: 'ip netns add' is refused (a container without CAP_SYS_ADMIN?)"
    return 1
  fi
  local refused=""
  ip netns exec "$probe" unshare --uts true 2>/dev/null || refused="'ip netns exec ... unshare --uts' is refused"
  ip -n "$probe" link add probe0 type veth peer name probe1 2>/dev/null || refused="veth pairs are refused"
  ip -n "$probe" link add probe2 type bridge 2>/dev/null || refused="bridges are refused"
  hosts_remove "$probe"
  [ -z "$refused" ] || { echo "no test hosts: $refused"; return 1; }
}

# A token bucket of about 1 ms at 1 Gbit/s; packets wait in it for up to 50 ms.
hosts_shape() {  # NAMESPACE INTERFACE RATE
  tc -n "$1" qdisc add dev "$2" root tbf rate "$3" burst 128kb latency 50ms
}

hosts_up() {
  local count="$1" rate="${2:-}" net host i
  hosts_clear_stale
  trap hosts_down EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  net="$(hosts_name net)"
  ip netns add "$net"
  ip -n "$net" link add bridge0 type bridge
  ip -n "$net" link set bridge0 up
  for i in $(seq "$count"); do
    host="$(hosts_name "$i")"
    ip netns add "$host"
    ip -n "$host" link set lo up
    ip -n "$net" link add "port$i" type veth peer name eth0 netns "$host"
    ip -n "$net" link set "port$i" master bridge0 up
    ip -n "$host" addr add "$hosts_subnet.$i/24" dev eth0
    ip -n "$host" link set eth0 up
    if [ -n "$rate" ]; then
      hosts_shape "$host" eth0 "$rate"
      hosts_shape "$net" "port$i" "$rate"
    fi
  done
}

# Runs a command on a host: in its namespace and under its name.
hosts_on() {  # NUMBER COMMAND ARGUMENTS...
  local host
  host="$(hosts_name "$1")"
  shift
  "$hosts_here/on_host.sh" "$host" "$@"
}

hosts_mpirun() {  # "1:SLOTS,2:SLOTS" ARGUMENTS...
  local layout="$1" list="" part total=0
  shift
  for part in ${layout//,/ }; do
    list+="${list:+,}$(hosts_name "${part%%:*}"):${part##*:}"
    total=$((total + ${part##*:}))
  done
  hosts_on "${layout%%:*}" mpirun --host "$list" -n "$total" --map-by slot --oversubscribe --bind-to none \
    --mca plm rsh --mca plm_rsh_agent "$hosts_here/rsh_agent.sh" --mca pml ob1 --mca btl tcp,self \
    --mca btl_tcp_if_include "$hosts_subnet.0/24" --mca oob_tcp_if_include "$hosts_subnet.0/24" "$@"
}
