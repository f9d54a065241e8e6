# shellcheck shell=bash
# What the scripts here share: a lab of network namespaces that stand for machines, joined by a bridge, with an
# agent in each. Everything is named after $LAB, so labs do not meet; lab_down removes all of it.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OVERLAY_BIN_DIR=${OVERLAY_BIN_DIR:-$ROOT/target/debug}
NODES=(n1 n2 n3)

die() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

# Runs the script again as root, where it is not.
need_root() {
    [ "$(id -u)" = 0 ] && return
    command -v sudo >/dev/null || die "labs need root" "run $0 as root"
    exec sudo --preserve-env=OVERLAY_BIN_DIR,OVERLAY_LAB "$0" "$@"
}

# Sets which lab the rest is about.
use_lab() {
    LAB=$1
    DIR=/tmp/overlay-netns-$LAB
}

netns() { echo "$LAB-$1"; }

# node_addr n2: its underlay address (RFC 5737: for documentation, in use nowhere), and by IPv6 (RFC 3849).
node_addr() { echo "198.51.100.${1#n}"; }
node_addr6() { echo "2001:db8::${1#n}"; }

# in_netns NAME COMMAND…: runs it in one of the lab's namespaces.
in_netns() {
    local name=$1
    shift
    nsenter --net="/run/netns/$(netns "$name")" -- "$@"
}

# on NODE COMMAND…: runs it on a node, with overlayctl at hand.
on() {
    local node=$1
    shift
    in_netns "$node" env OVERLAY_SOCKET="$DIR/$node/overlayd.sock" PATH="$OVERLAY_BIN_DIR:$PATH" "$@"
}

add_netns() {
    ip netns add "$(netns "$1")"
    ip -n "$(netns "$1")" link set lo up
}

# The nodes and the bridge between them, no agent yet.
lab_up() {
    local program node
    for program in overlayd overlayctl; do
        [ -x "$OVERLAY_BIN_DIR/$program" ] || die "$OVERLAY_BIN_DIR/$program is not there" "make build"
    done
    [ ! -e "$DIR" ] || die "the lab $LAB is up already" "OVERLAY_LAB=$LAB netns-scripts/lab.sh down"
    mkdir -p "$DIR"
    add_netns switch
    ip -n "$(netns switch)" link add br0 type bridge forward_delay 0 mcast_snooping 0
    ip -n "$(netns switch)" link set br0 up
    for node in "${NODES[@]}"; do
        add_netns "$node"
        ip -n "$(netns switch)" link add "$node" type veth peer name eth0 netns "$(netns "$node")"
        ip -n "$(netns switch)" link set "$node" master br0 up
        # So that it takes what native XDP sends back from the other end.
        in_netns switch ethtool -K "$node" gro on
        ip -n "$(netns "$node")" address add "$(node_addr "$node")/24" dev eth0
        ip -n "$(netns "$node")" address add "$(node_addr6 "$node")/64" dev eth0 nodad
        ip -n "$(netns "$node")" link set eth0 up
        mkdir -p "$DIR/$node/bpf"
        # Outside of the agent, so that what it pins outlives it.
        mount -t bpf bpf "$DIR/$node/bpf"
    done
}

# Starts a node's agent and waits until it answers.
start_agent() {
    local node=$1 dir=$DIR/$1
    cat >"$dir/overlayd.toml" <<TOML
hostname = "$node"
state_dir = "$dir/state"
socket = "$dir/overlayd.sock"
bpf_dir = "$dir/bpf"
mesh_hook = "${MESH_HOOK:-auto}"
TOML
    # Each of these becomes the next, so the process that is started here is the agent.
    nsenter --net="/run/netns/$(netns "$node")" -- setsid "$OVERLAY_BIN_DIR/overlayd" --config "$dir/overlayd.toml" \
        </dev/null >>"$dir/overlayd.log" 2>&1 &
    echo $! >"$dir/overlayd.pid"
    # It is ended by lab_down; bash need not report that.
    disown
    for _ in $(seq 100); do
        on "$node" overlayctl status >/dev/null 2>&1 && return
        kill -0 "$(cat "$dir/overlayd.pid")" 2>/dev/null || break
        sleep 0.1
    done
    cat "$dir/overlayd.log" >&2
    die "$node's agent does not start" "see its log above"
}

# Removes the lab; what is not there is no failure.
lab_down() {
    local file pid namespace
    for file in "$DIR"/n*/overlayd.pid; do
        [ -e "$file" ] || continue
        pid=$(cat "$file")
        # After a long time, another process may have its id.
        if grep -qs "$DIR/" "/proc/$pid/cmdline"; then kill -KILL "$pid"; fi
    done
    for file in "$DIR"/n*/bpf; do
        if mountpoint -q "$file"; then umount -l "$file"; fi
    done
    ip netns list | cut -d' ' -f1 | while read -r namespace; do
        case $namespace in "$LAB"-*) ip netns delete "$namespace" ;; esac
    done
    rm -rf "$DIR"
}
