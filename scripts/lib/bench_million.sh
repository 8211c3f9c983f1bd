# shellcheck shell=bash
# scripts/bench mount --million: a library of very many photos on a new device. Measures the time
# until all names are shown, the time of the next mount, and the memory of the client after it has
# shown every name.

# Set by scripts/bench: the folder of the programs, and the working folder.
: "${release:?}" "${work:?}"

# Photos in a folder.
in_folder=1000

# fill_library COUNT: adds one photo under COUNT names with the requests that a client sends.
fill_library() {
    local count=$1 image first
    "$release/examples/photos" "$work/one" 2 1000000 7
    mkdir "$work/first"
    mount_device "$work/first"
    cp "$work"/one/*.jpg "$work/first/t/photo.jpg" 2>/dev/null || cp "$work"/one/*0.* "$work/first/t/photo.jpg"
    "$release/heirloom" wait "$work/first/t" >/dev/null
    image=$(getfattr --only-values -n user.heirloom.fingerprint --absolute-names "$work/first/t/photo.jpg")
    "$release/heirloom" unmount "$work/first/t" >/dev/null
    for ((first = 0; first < count; first += in_folder)); do
        awk -v from="$first" -v many="$in_folder" -v image="$image" 'BEGIN {
            printf "{\"changes\":["
            for (at = 0; at < many; at++)
                printf "%s{\"change\":\"put\",\"path\":\"%04d/IMG_%07d.jpg\",\"fingerprint\":\"%s\",\"mtime_ns\":1700000000000000000,\"base\":0}",
                    at ? "," : "", from / many, from + at, image
            printf "]}" }' |
            curl --silent --show-error --fail --output /dev/null -H "Authorization: Bearer $(cat "$work/token")" \
                -H "Content-Type: application/json" --data-binary @- "$server/v1/library/changes"
    done
}

# mount_device FOLDER: mounts FOLDER/t with FOLDER/state; leaves the client's process id in $client.
mount_device() {
    mkdir -p "$1/t"
    start "$1/log" "$release/heirloom" mount "$1/t" --state "$1/state" --foreground --server "$server" --token-file "$work/token"
    client=$!
    until_true "heirloom is mounted" mountpoint -q "$1/t"
}

# shown MOUNTPOINT: prints how many placeholders are shown there.
shown() { "$release/heirloom" status "$1" --json | awk '/"placeholder"/ { here = 1 } here && /"files"/ { gsub(/[^0-9]/, ""); print; exit }'; }

until_shown() {
    local count=$1 place=$2 tries=6000
    until [ "$(shown "$place")" -ge "$count" ]; do
        [ $((tries -= 1)) -gt 0 ] || fail "Timed out: $count names are not shown."
        sleep 0.1
    done
}

resident_mb() { awk '/^VmRSS:/ { printf "%.0f", $2 / 1024 }' "/proc/$1/status"; }

# measure_million COUNT
measure_million() {
    local count=$1 port server client begun device="$work/second"
    port=$(free_port)
    start "$work/server.log" nice -n 10 "$release/heirloom-server" --data "$work/data" --listen "127.0.0.1:$port"
    until_true "heirloom-server listens" listens "$port"
    server="http://127.0.0.1:$port"
    "$release/heirloom-server" user add bench --data "$work/data" >"$work/token"
    say "Filling a library with $count names ..."
    fill_library "$count"
    say "Showing them on a new device ..."
    mkdir "$device"
    begun=$EPOCHREALTIME
    mount_device "$device"
    until_shown "$count" "$device/t"
    printf '\n| A library of %s photos | |\n|---|---|\n| all names shown on a new device | %s s |\n' "$count" "$(since "$begun")"
    printf '| memory of the client then | %s MB |\n' "$(resident_mb "$client")"
    begun=$EPOCHREALTIME
    find "$device/t" -type f | wc -l >"$work/found"
    [ "$(cat "$work/found")" -ge "$count" ] || fail "find saw only $(cat "$work/found") of $count."
    printf '| find over all, the first time | %s s |\n| memory of the client then | %s MB |\n' "$(since "$begun")" "$(resident_mb "$client")"
    begun=$EPOCHREALTIME
    find "$device/t" -type f -newermt 2000-01-01 | wc -l >"$work/found"
    printf '| find with stat of each, the second time | %s s |\n| memory of the client then | %s MB |\n' "$(since "$begun")" "$(resident_mb "$client")"
    "$release/heirloom" unmount "$device/t" >/dev/null
    begun=$EPOCHREALTIME
    mount_device "$device"
    printf '| mounting it again, until it is usable | %s s |\n' "$(since "$begun")"
    ls "$device/t" >/dev/null
    find "$device/t" -type f | wc -l >"$work/found"
    printf '| memory after that and find over all | %s MB, peak %s MB |\n' "$(resident_mb "$client")" "$(($(peak_kib "$client") / 1024))"
    fusermount3 -u -z "$device/t"
    end_all_by KILL
}
