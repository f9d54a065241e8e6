#!/usr/bin/env bash
# Shows Overlay on this machine: three nodes in network namespaces, one network, an endpoint on each, and what
# passes between them. Takes a minute, needs root, and leaves nothing behind.
set -euo pipefail
# shellcheck source=netns-scripts/lib.sh
. "$(dirname "$0")/lib.sh"
need_root "$@"
use_lab "${OVERLAY_LAB:-demo$$}"
# Not what it would choose on veth pairs, but what it runs on a machine's own network card.
export MESH_HOOK=xdp

if [ -t 1 ]; then BOLD=$'\033[1m' PLAIN=$'\033[0m'; else BOLD='' PLAIN=''; fi

finish() {
    local code=$?
    if [ $code != 0 ]; then
        for log in "$DIR"/n*/overlayd.log; do
            [ -e "$log" ] || continue
            echo "--- the end of $log"
            tail -n 15 "$log"
        done >&2
    fi
    if [ -e "$DIR/servers" ]; then xargs kill <"$DIR/servers" 2>/dev/null || true; fi
    lab_down
    [ $code = 0 ] || die "the demo failed (exit code $code)" "the agents' logs are above"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%s# %s%s\n' "$BOLD" "$*" "$PLAIN"; }

# show NODE COMMAND…: prints the command as a person on that node would type it, then runs it there.
show() {
    local node=$1
    shift
    printf '%s%s$ %s%s\n' "$BOLD" "$node" "$*" "$PLAIN"
    on "$node" "$@"
}

# inside ENDPOINT COMMAND…: the same in an endpoint's namespace.
inside() {
    local endpoint=$1
    shift
    printf '%s%s$ %s%s\n' "$BOLD" "$endpoint" "$*" "$PLAIN"
    in_netns "$endpoint" "$@"
}

# address web2 ip4: what the agent gave it.
address() { on n1 overlayctl endpoint inspect "mynet/$1" | sed -n "s/^ *\"$2\": \"\(.*\)\",*$/\1/p"; }

# Waits until a listing on n1 has three rows that match: news takes a moment from node to node.
three() {
    local pattern=$1
    shift
    for _ in $(seq 50); do
        [ "$(on n1 "$@" | grep -c "$pattern")" = 3 ] && return
        sleep 0.1
    done
    die "not three of $pattern in: $*" "the agents' logs tell more"
}

# Waits until an endpoint reaches an address, for the news of it is still on its way.
reaches() {
    for _ in $(seq 50); do
        in_netns "$1" ping -n -q -c 1 -W 1 "$2" >/dev/null 2>&1 && return
        sleep 0.1
    done
    die "$1 does not reach $2" "the agents' logs tell more"
}

# buys WHAT CLIENT COMMAND…: the answer must tell the client's own address.
buys() {
    local what=$1 client=$2 answer
    shift 2
    printf '%sclient$ echo %s | %s%s\n' "$BOLD" "$what" "$*" "$PLAIN"
    answer=$(echo "$what" | in_netns client timeout 5 "$@") || die "no answer" "the agents' logs tell more"
    echo "$answer"
    [[ $answer = "shop"[23]" sold $what to $client" ]] || die "that is not to $client" "the agents' logs tell more"
}

say "Three machines (network namespaces) on one link, an agent on each"
lab_up
for node in "${NODES[@]}"; do
    echo "$node has the address $(node_addr "$node"): overlayd --config $DIR/$node/overlayd.toml"
    start_agent "$node"
done

say "The first makes a cluster, the others join it"
show n1 overlayctl cluster init --advertise-addr "$(node_addr n1)" | tee "$DIR/init"
token=$(sed -n 's/.*--token[ =]\([^ ]*\).*/\1/p' "$DIR/init")
[ -n "$token" ] || die "cluster init printed no token" "netns-scripts/demo.sh reads it from the command to join"
for node in n2 n3; do
    show "$node" overlayctl cluster join --token "$token" "$(node_addr n1):2377" --advertise-addr "$(node_addr "$node")"
done
for node in "${NODES[@]}"; do on "$node" overlayctl status --wait --timeout 30 >/dev/null; done
three Ready overlayctl node ls
show n1 overlayctl node ls

say "A network, created once, is on every node"
show n1 overlayctl network create mynet --subnet 10.1.0.0/24 --subnet fd00:1::/64
for node in "${NODES[@]}"; do
    for _ in $(seq 50); do
        on "$node" overlayctl network inspect mynet >/dev/null 2>&1 && break
        sleep 0.1
    done
    show "$node" overlayctl network ls
done

say "An endpoint on each node: any network namespace, as a container has one"
for node in "${NODES[@]}"; do
    add_netns "web${node#n}"
    show "$node" overlayctl endpoint attach --netns "$(netns "web${node#n}")" --network mynet --name "web${node#n}"
done
three mynet overlayctl endpoint ls
show n1 overlayctl endpoint ls

say "They reach each other from node to node, by IPv4 and by IPv6"
for target in web2 web3; do
    for family in ip4 ip6; do
        to=$(address "$target" "$family")
        reaches web1 "$to"
        inside web1 ping -n -c 2 -i 0.2 "$to"
    done
done

say "20 MB over TCP from web1 to web3 arrive as they were sent"
head -c 20M /dev/urandom >"$DIR/sent"
to=$(address web3 ip4)
in_netns web3 timeout 30 nc -l 9000 >"$DIR/received" &
receiver=$!
for _ in $(seq 50); do
    [ -n "$(in_netns web3 ss -Hltn 'sport = 9000')" ] && break
    sleep 0.1
done
printf '%sweb3$ nc -l 9000 >received%s\n' "$BOLD" "$PLAIN"
printf '%sweb1$ nc -N %s 9000 <sent%s\n' "$BOLD" "$to" "$PLAIN"
in_netns web1 timeout 30 nc -N "$to" 9000 <"$DIR/sent"
wait "$receiver"
(cd "$DIR" && sha256sum sent received)
cmp "$DIR/sent" "$DIR/received"

say "A service, published once, answers on every node; two nodes have its backends"
show n1 overlayctl service create shop --network mynet \
    --publish published=8080,target=80,protocol=tcp --publish published=8080,target=80,protocol=udp
for node in n2 n3; do
    for _ in $(seq 50); do
        on "$node" overlayctl service inspect shop >/dev/null 2>&1 && break
        sleep 0.1
    done
    shop=shop${node#n}
    add_netns "$shop"
    show "$node" overlayctl endpoint attach --netns "$(netns "$shop")" --network mynet --name "$shop" --service shop
    # What is asked is told who sold it, and to whom.
    sells="SYSTEM:read what; echo $shop sold \$what to \$SOCAT_PEERADDR"
    for listens in TCP4-LISTEN TCP6-LISTEN UDP4-RECVFROM UDP6-RECVFROM; do
        option=fork
        if [[ $listens = *6-* ]]; then option+=,ipv6only=1; fi
        # No function is called, so the process is socat itself.
        nsenter --net="/run/netns/$(netns "$shop")" -- socat "$listens:80,$option" "$sells" </dev/null &
        echo $! >>"$DIR/servers"
    done
    for _ in $(seq 50); do
        [ "$(in_netns "$shop" ss -Hltun 'sport = 80' | wc -l)" = 4 ] && break
        sleep 0.1
    done
done
for node in "${NODES[@]}"; do
    for _ in $(seq 50); do
        [ "$(on "$node" overlayctl service ps shop | grep -c Active)" = 2 ] && break
        sleep 0.1
    done
done
show n1 overlayctl service ps shop
show n1 overlayctl status | grep Mesh

say "A client outside the cluster reaches it on each of them; the backends see the client's own address"
add_netns client
ip -n "$(netns switch)" link add client type veth peer name eth0 netns "$(netns client)"
ip -n "$(netns switch)" link set client master br0 up
ip -n "$(netns client)" address add 198.51.100.100/24 dev eth0
ip -n "$(netns client)" address add 2001:db8::100/64 dev eth0 nodad
# As socat tells it.
client6='[2001:0db8:0000:0000:0000:0000:0000:0100]'
ip -n "$(netns client)" link set eth0 up
# It stands for a machine on the wire, whose packets come with their checksums.
in_netns client ethtool -K eth0 tx off >/dev/null
for node in "${NODES[@]}"; do
    buys bread 198.51.100.100 nc -nN "$(node_addr "$node")" 8080
    buys cheese 198.51.100.100 nc -nu -W 1 "$(node_addr "$node")" 8080
    buys salt "$client6" nc -nN "$(node_addr6 "$node")" 8080
    buys wine "$client6" nc -nu -W 1 "$(node_addr6 "$node")" 8080
done

say "XDP has done so, before the network stack of the node that was asked: this one has no backend"
printf '%sn1$ ethtool -S eth0 | grep rx.*xdp_redirect%s\n' "$BOLD" "$PLAIN"
on n1 ethtool -S eth0 | grep 'rx.*xdp_redirect: [1-9]' || die "XDP sent nothing on" "the agents' logs tell more"

say "On the wire between the nodes, a ping is a VXLAN packet to UDP port 4789 with the network's VNI"
printf '%sn2$ tcpdump -n -c 1 -i eth0 udp port 4789%s\n' "$BOLD" "$PLAIN"
in_netns n2 timeout 10 tcpdump -n -l -c 1 -i eth0 udp port 4789 >"$DIR/packet" 2>"$DIR/tcpdump" &
capture=$!
for _ in $(seq 50); do
    grep -q 'listening on' "$DIR/tcpdump" && break
    sleep 0.1
done
in_netns web1 ping -n -q -c 1 "$(address web2 ip4)" >/dev/null
wait "$capture"
cat "$DIR/packet"
on n1 overlayctl network inspect mynet | grep '"vni"'

say "How the node is"
show n1 overlayctl status

say "That was it; everything is removed again"
