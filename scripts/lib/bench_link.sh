# shellcheck shell=bash
# scripts/bench link: how much of a narrow link's rate uploads use. The server runs in a network
# namespace of its own, behind a veth pair whose rate tc limits; this needs root.

# Set by scripts/bench: the folder of the programs, the working folder, the number of rounds.
: "${release:?}" "${work:?}" "${rounds:?}"

link_mbit=10
link_here=10.213.77.1
link_there=10.213.77.2
link_port=8080
link_space="heirloom-bench-$$"
link_photos=40
link_photo_bytes=1000000
# Seconds between two cuts, in rounds with cuts.
link_cut_every=5

# The command that runs a program as root.
link_root=()
[ "$(id -u)" -eq 0 ] || link_root=(sudo)

link_up() {
    as_root ip netns add "$link_space"
    as_root ip link add hlbench0 type veth peer name hlbench1 netns "$link_space"
    as_root ip addr add "$link_here/30" dev hlbench0
    as_root ip link set hlbench0 up
    as_root ip netns exec "$link_space" ip addr add "$link_there/30" dev hlbench1
    as_root ip netns exec "$link_space" ip link set hlbench1 up
    as_root ip netns exec "$link_space" ip link set lo up
    as_root tc qdisc add dev hlbench0 root tbf rate "${link_mbit}mbit" burst 32kbit latency 100ms
}

link_down() {
    as_root ip link del hlbench0 2>/dev/null || true
    as_root ip netns del "$link_space" 2>/dev/null || true
}

there_listens() { (exec 3<>"/dev/tcp/$link_there/$link_port") 2>/dev/null; }

# Breaks every open connection, like a router that restarts.
cut_now_and_then() {
    while sleep "$link_cut_every"; do as_root ss -K dst "$link_there" >/dev/null 2>&1 || true; done
}

sent_bytes() { "$release/heirloom" status "$1" --json | sed -n 's/^ *"sent_bytes": \([0-9]*\).*/\1/p'; }

# link_round FOLDER steady|cuts: prints the share of the rate that carried photo bytes, the seconds,
# and the bytes that were sent again.
link_round() {
    local folder=$1 how=$2 begun seconds bytes=$((link_photos * link_photo_bytes)) sent
    mkdir -p "$folder/mount"
    # Directly and not as a function, so that the signal that ends it reaches it.
    start "$folder/server.log" "${link_root[@]}" ip netns exec "$link_space" \
        "$release/heirloom-server" --data "$folder/data" --listen "$link_there:$link_port" --insecure-http
    until_true "heirloom-server listens" there_listens
    as_root "$release/heirloom-server" user add bench --data "$folder/data" >"$folder/token"
    start "$folder/client.log" "$release/heirloom" mount "$folder/mount" --server "http://$link_there:$link_port" \
        --token-file "$folder/token" --state "$folder/state" --foreground
    until_true "heirloom is mounted" "$release/heirloom" status "$folder/mount"
    begun=$EPOCHREALTIME
    [ "$how" = steady ] || { cut_now_and_then & started+=($!); }
    cp -r "$work/narrow" "$folder/mount/photos"
    "$release/heirloom" wait "$folder/mount" >/dev/null
    seconds=$(since "$begun")
    sent=$(sent_bytes "$folder/mount")
    awk -v bytes="$bytes" -v seconds="$seconds" -v mbit="$link_mbit" -v again="$((sent - bytes))" \
        'BEGIN { printf "%.3f %.1f %d\n", bytes * 8 / seconds / mbit / 1e6, seconds, again }'
    "$release/heirloom" unmount "$folder/mount" >/dev/null
    end_all
}

measure_link() {
    local round how share seconds again
    "$release/examples/photos" "$work/narrow" "$link_photos" "$link_photo_bytes" 1
    link_up
    printf '| %s Mbit/s, %s photos of %s bytes | share of the rate in photo bytes | s | bytes sent again |\n|---|---|---|---|\n' \
        "$link_mbit" "$link_photos" "$link_photo_bytes"
    for ((round = 1; round <= rounds; round++)); do
        for how in steady cuts; do
            read -r share seconds again < <(link_round "$work/link.$how.$round" "$how")
            printf '| %s | %s | %s | %s |\n' \
                "$([ "$how" = steady ] && echo "undisturbed" || echo "all connections cut every $link_cut_every s")" \
                "$share" "$seconds" "$again"
        done
    done
}
