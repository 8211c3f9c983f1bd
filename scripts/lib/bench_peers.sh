# shellcheck shell=bash
# The programs that scripts/bench compares, one function each. Each gets a new folder and the photos,
# starts what it needs, prints the seconds from the first copy until every photo is on the server,
# and ends what it started. Heirloom also writes `memory` and `again` into the folder.

# Set by scripts/bench: the folder of the programs.
: "${release:?}"

# The process ids of the current round; end_all ends them.
started=()

# start LOG COMMAND...: runs the command in the background and leaves its process id in $!.
start() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 &
    started+=($!)
}

end_all() { end_all_by TERM; }

# end_all_by SIGNAL
end_all_by() {
    local pid
    for pid in "${started[@]}"; do kill "-$1" "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
    started=()
}

# until_true WHAT COMMAND...: waits until the command succeeds: every 20 ms, for 30 s at most.
until_true() {
    local what=$1 tries=1500
    shift
    until "$@" >/dev/null 2>&1; do
        [ $((tries -= 1)) -gt 0 ] || fail "Timed out: $what."
        sleep 0.02
    done
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)); listens "$port"; do :; done
    echo "$port"
}

since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.2f\n", to - from }'; }

peak_kib() { awk '/^VmHWM:/ { print $2 }' "/proc/$1/status"; }

# Bytes sent over loopback so far, in both directions, with all headers.
loopback_bytes() { awk '$1 == "lo:" { print $10 }' /proc/net/dev; }

heirloom_round() {
    local folder=$1 photos=$2 port begun before client server
    port=$(free_port)
    start "$folder/server.log" "$release/heirloom-server" --data "$folder/data" --listen "127.0.0.1:$port"
    server=$!
    until_true "heirloom-server listens" listens "$port"
    "$release/heirloom-server" user add bench --data "$folder/data" >"$folder/token"
    mkdir "$folder/mount"
    start "$folder/client.log" "$release/heirloom" mount "$folder/mount" --server "http://127.0.0.1:$port" \
        --token-file "$folder/token" --state "$folder/state" --foreground
    client=$!
    until_true "heirloom is mounted" "$release/heirloom" status "$folder/mount"

    begun=$EPOCHREALTIME
    cp -r "$photos" "$folder/mount/photos"
    "$release/heirloom" wait "$folder/mount" >/dev/null
    since "$begun"

    echo "$(peak_kib "$client") $(peak_kib "$server")" >"$folder/memory"
    before=$(loopback_bytes)
    cp -r "$photos" "$folder/mount/again"
    "$release/heirloom" wait "$folder/mount" >/dev/null
    echo $((($(loopback_bytes) - before) / $(find "$photos" -type f | wc -l))) >"$folder/again"
    "$release/heirloom" unmount "$folder/mount" >/dev/null
    end_all
}

# start_nginx FOLDER: starts nginx with PUT into FOLDER/data; leaves its port in $nginx_port.
start_nginx() {
    local folder=$1
    nginx_port=$(free_port)
    mkdir -m 777 "$folder/data"
    cat >"$folder/nginx.conf" <<END
daemon off; worker_processes 2; pid $folder/nginx.pid; error_log $folder/nginx.log;
$([ "$(id -u)" -ne 0 ] || echo "user root;")
events { worker_connections 256; }
http { access_log off; client_max_body_size 0; client_body_temp_path $folder/body;
  server { listen 127.0.0.1:$nginx_port; root $folder/data; location / { dav_methods PUT; create_full_put_path on; } } }
END
    PATH="$PATH:/usr/sbin" start "$folder/nginx.out" nginx -p "$folder" -c "$folder/nginx.conf"
    until_true "nginx listens" listens "$nginx_port"
}

# The practical limit: nothing is hashed, recorded or synced.
curl_round() {
    local folder=$1 photos=$2 begun photo
    start_nginx "$folder"
    for photo in "$photos"/*; do
        printf 'upload-file = "%s"\nurl = "http://127.0.0.1:%s/%s"\noutput = /dev/null\n' "$photo" "$nginx_port" "${photo##*/}"
    done >"$folder/curl.conf"

    begun=$EPOCHREALTIME
    curl --silent --show-error --fail --no-progress-meter --parallel --parallel-max 8 --config "$folder/curl.conf" 2>"$folder/curl.log"
    since "$begun"
    end_all
}

rclone_round() {
    local folder=$1 photos=$2 port control begun
    port=$(free_port)
    mkdir "$folder/data" "$folder/mount"
    start "$folder/webdav.log" rclone serve webdav "$folder/data" --addr "127.0.0.1:$port"
    until_true "rclone serve webdav listens" listens "$port"
    control=$(free_port)
    start "$folder/mount.log" rclone mount ":webdav,url='http://127.0.0.1:$port',vendor=other:" "$folder/mount" \
        --vfs-cache-mode writes --cache-dir "$folder/cache" --rc --rc-no-auth --rc-addr "127.0.0.1:$control"
    until_true "rclone is mounted" mountpoint -q "$folder/mount"

    begun=$EPOCHREALTIME
    cp -r "$photos" "$folder/mount/photos"
    until rclone rc --rc-addr "127.0.0.1:$control" vfs/stats |
        awk '/"uploadsInProgress"|"uploadsQueued"/ { left += $2 } END { exit left > 0 }'; do
        sleep 0.05
    done
    since "$begun"
    fusermount3 -u "$folder/mount"
    end_all
}

restic_round() {
    local folder=$1 photos=$2 port begun
    port=$(free_port)
    mkdir "$folder/data"
    start "$folder/restic.log" rclone serve restic "$folder/data" --addr "127.0.0.1:$port"
    until_true "rclone serve restic listens" listens "$port"
    local -x RESTIC_PASSWORD=bench RESTIC_REPOSITORY="rest:http://127.0.0.1:$port/" RESTIC_CACHE_DIR="$folder/cache"
    restic init --quiet

    begun=$EPOCHREALTIME
    restic backup --quiet "$photos"
    since "$begun"
    end_all
}
