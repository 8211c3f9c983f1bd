# shellcheck shell=bash
# scripts/bench server: one server under the load of many devices. An index of ten million images is
# created once and kept in ${XDG_CACHE_HOME:-~/.cache}/heirloom-bench; each run works on a copy.

# Set by scripts/bench: the folder of the programs, the working folder, the number of rounds.
: "${release:?}" "${work:?}" "${rounds:?}"

busy_images=10000000
busy_connections=64
busy_seconds=8
# Checks per second while uploads run: about the load of a hundred devices.
busy_calm_rate=20
busy_put_count=150
busy_put_bytes=2000000
busy_put_connections=8

# Creates the index with all its images if it is missing, and prints its folder, which is named for
# the version of the schema.
busy_index() {
    local kept name schema port
    mkdir "$work/empty"
    port=$(free_port)
    start "$work/empty.log" "$release/heirloom-server" --data "$work/empty" --listen "127.0.0.1:$port"
    until_true "heirloom-server listens" listens "$port"
    "$release/heirloom-server" user add bench --data "$work/empty" >"$work/empty/token"
    # The scrub of an empty server ends at once. It must not run later: the images of the index have
    # no files.
    until_true "the scrub is done" scrubbed "$work/empty/index.sqlite"
    end_all
    schema=$(sqlite3 "$work/empty/index.sqlite" "SELECT version FROM schema_version")
    kept="${XDG_CACHE_HOME:-$HOME/.cache}/heirloom-bench"
    name="index-$schema-$busy_images"
    if [ ! -d "$kept/$name" ]; then
        say "Creating an index of $busy_images images in $kept ..." >&2
        mkdir -p "$kept"
        rm -rf "${kept:?}/$name.new"
        cp -r "$work/empty" "$kept/$name.new"
        fill_index "$kept/$name.new/index.sqlite"
        mv "$kept/$name.new" "$kept/$name"
    fi
    echo "$kept/$name"
}

scrubbed() { [ "$(sqlite3 "$1" "SELECT count(*) FROM settings WHERE name = 'scrub'")" = 1 ]; }

# Inserts in the order of fingerprints, so that it takes a minute and not an hour. The fingerprints
# are the ones that tests/bench/load.rs asks for.
fill_index() {
    python3 - "$1" "$busy_images" <<'END'
import sqlite3, sys

path, count = sys.argv[1], int(sys.argv[2])
step = (2**63 - 1) // count
index = sqlite3.connect(path, isolation_level=None)
index.execute("PRAGMA journal_mode = OFF")
index.execute("PRAGMA synchronous = OFF")
index.execute("PRAGMA cache_size = -500000")
(user,) = index.execute("SELECT id FROM users").fetchone()
index.execute("BEGIN")
images = (((place * step).to_bytes(8, "big") * 4,) for place in range(count))
index.executemany("INSERT INTO images (fingerprint, size, state) VALUES (?, 2000000, 0)", images)
index.execute(
    "INSERT INTO holdings (user_id, fingerprint, stored_at_ms) SELECT ?, fingerprint, 1700000000000 FROM images", (user,)
)
index.execute("UPDATE users SET held_bytes = ?", (count * 2000000,))
index.execute("COMMIT")
index.execute("PRAGMA journal_mode = WAL")
END
}

busy_server() {
    busy_port=$(free_port)
    start "$work/server.log" "$release/heirloom-server" --data "$work/data" --listen "127.0.0.1:$busy_port" --scrub-every 36500d
    busy_pid=$!
    until_true "heirloom-server listens" listens "$busy_port"
    busy_token=$(cat "$work/data/token")
}

busy_check() { "$release/examples/load" check "127.0.0.1:$busy_port" "$busy_token" "$busy_images" "$@"; }

# busy_put SEED ADDRESS TOKEN [FOLDER]: uploads after the disk is idle.
busy_put() {
    local seed=$1 address=$2 token=$3
    shift 3
    sync
    "$release/examples/load" put "$address" "$token" "$busy_put_connections" "$busy_put_count" "$busy_put_bytes" "$seed" "$@"
}

# Uploads until it is killed.
busy_putting() {
    local seed=$RANDOM
    while "$release/examples/load" put "127.0.0.1:$busy_port" "$busy_token" 4 50 "$busy_put_bytes" "$((seed += 1))" >/dev/null; do :; done
}

# One round: appends each figure to a file of its own.
busy_round() {
    local putting rate median slow
    read -r rate median slow < <(busy_check "$busy_connections" "$busy_seconds")
    echo "$rate" >>"$work/rate"
    echo "$median" >>"$work/median"
    busy_put "${round}1" "127.0.0.1:$nginx_port" - >>"$work/put.nginx"
    busy_put "${round}2" "127.0.0.1:$busy_port" "$busy_token" >>"$work/put.heirloom"
    busy_put "${round}3" "127.0.0.1:$nginx_port" - "$work" >>"$work/put.synced"
    busy_putting &
    putting=$!
    read -r rate median slow < <(busy_check 8 "$busy_seconds" "$busy_calm_rate")
    kill "$putting" && wait "$putting" 2>/dev/null || true
    echo "$slow" >>"$work/slow"
    find "$work/nginx/data" -type f -delete
}

busy_line() { printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$(paste -sd ' ' "$4")"; }

measure_busy_server() {
    local kept
    kept=$(busy_index)
    cp -r "$kept" "$work/data"
    sync
    busy_server
    mkdir "$work/nginx"
    start_nginx "$work/nginx"
    for ((round = 1; round <= rounds; round++)); do
        say "Round $round of $rounds ..."
        busy_round
    done
    printf '%s, %s cores, Linux %s; medians of %s rounds, interleaved; an index of %s images; load and servers on this machine\n\n' \
        "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)" "$rounds" "$busy_images"
    printf '| | measured | target | all rounds |\n|---|---|---|---|\n'
    busy_line "images checked per second, $busy_connections connections, 500 in a check" "$(median "$work/rate")" "80000" "$work/rate"
    busy_line "response time meanwhile, median, ms" "$(median "$work/median")" "" "$work/median"
    busy_line "99th percentile of a check while 4 connections upload, $busy_calm_rate checks a second, ms" "$(median "$work/slow")" "50" "$work/slow"
    busy_line "images of 2 MB, each synced, MB/s" "$(median "$work/put.heirloom")" "" "$work/put.heirloom"
    busy_line "times nginx, which syncs nothing" "$(ratio "$work/put.heirloom" "$work/put.nginx")" "0.6" "$work/put.nginx"
    busy_line "times nginx and one \`syncfs\` at the end" "$(ratio "$work/put.heirloom" "$work/put.synced")" "0.8" "$work/put.synced"
    printf '\nPeak memory of the server: %s MB.\n' "$(($(peak_kib "$busy_pid") / 1024))"
}
