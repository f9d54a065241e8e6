#!/usr/bin/env bash
# A lab to play with: three nodes of one cluster on this machine, in network namespaces.
set -euo pipefail
# shellcheck source=netns-scripts/lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
    cat >&2 <<'TEXT'
usage: netns-scripts/lab.sh up                     three nodes, n1 n2 n3, in one cluster
       netns-scripts/lab.sh shell NODE [COMMAND…]  a shell (or one command) on a node, with overlayctl at hand
       netns-scripts/lab.sh down                   removes all of it

OVERLAY_LAB names the lab, if there shall be several: play
TEXT
    exit 2
}

# The command line is checked before root is asked for.
case ${1:-} in
up | down) [ $# = 1 ] || usage ;;
shell) [ $# -ge 2 ] || usage ;;
*) usage ;;
esac
need_root "$@"
use_lab "${OVERLAY_LAB:-play}"

up() {
    trap 'lab_down' ERR
    local node token
    lab_up
    for node in "${NODES[@]}"; do start_agent "$node"; done
    token=$(on n1 overlayctl cluster init -q --advertise-addr "$(node_addr n1)")
    for node in "${NODES[@]:1}"; do
        on "$node" overlayctl cluster join --token "$token" "$(node_addr n1):2377" --advertise-addr "$(node_addr "$node")"
    done
    for node in "${NODES[@]}"; do on "$node" overlayctl status --wait --timeout 30 >/dev/null; done
    trap - ERR
    cat <<TEXT

The nodes n1, n2 and n3 are a cluster. Try:

    netns-scripts/lab.sh shell n1
    overlayctl network create mynet
    ip netns add $(netns web)        # removed with the lab, for its name starts with $LAB-
    overlayctl endpoint attach --netns $(netns web) --network mynet --name web
    ip netns exec $(netns web) ip address

The agents' logs are $DIR/n*/overlayd.log
TEXT
}

case $1 in
up) up ;;
down) lab_down ;;
shell)
    node=$2
    shift 2
    [ -e "/run/netns/$(netns "$node")" ] || die "the lab $LAB has no node $node" "netns-scripts/lab.sh up"
    if [ $# = 0 ]; then set -- env "PS1=$node# " bash --norc; fi
    on "$node" "$@"
    ;;
esac
