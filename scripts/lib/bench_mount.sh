# shellcheck shell=bash
# scripts/bench mount: how fast a mounted directory is, compared with the disk below it. Columns are
# measured one after the other; within a column the ways take turns, forwards in one round and
# backwards in the next. Only the column `busy` uploads anything.

# Set by scripts/bench: the folder of the programs, the working folder, the number of rounds.
: "${release:?}" "${work:?}" "${rounds:?}"

mount_ways=(native passthrough direct rclone)
declare -A mount_label=(
    [native]="the disk itself" [passthrough]="Heirloom, passthrough" [direct]="Heirloom, direct" [rclone]="rclone mount, writes cached"
    [idle]="Heirloom, nothing uploaded" [uploading]="Heirloom, 1 GB being uploaded"
)
# The names of the columns on the command line; `big` and `tree` fill two each.
mount_columns=(big medium small rsync tree busy)
declare -A mount_fills=([big]="big back" [medium]=medium [small]=small [rsync]=rsync [tree]="list find" [busy]=busy)
declare -A mount_title=(
    [big]="cp, 2 GiB, same disk" [back]="cat of it, right after" [medium]="cp -r, 200 x 5 MB" [small]="cp -r, 5,000 x 100 KB"
    [rsync]="rsync -a, 5,000 x 100 KB" [list]="ls -lR, 100,000 files, second time" [find]="find, 100,000 files, second time"
    [busy]="cp -r, 200 x 5 MB"
)

# MB of memory that each column fills; twice the data where it is copied twice.
declare -A mount_memory=([big]=5000 [medium]=3000 [small]=2000 [rsync]=2000 [busy]=7000)

# rclone runs in the first round only: it would take most of the time, and its figures are far from
# the others.
rclone_rounds=1

# The photos are in memory, like on another, fast disk: within one disk cp lets the kernel copy, which
# it does not do into FUSE.
need_source() {
    memory=${memory:-$(mktemp -d /dev/shm/heirloom-bench-XXXXXX)}
    case $1 in
    big) [ -e "$work/big" ] || head -c 2147483648 /dev/urandom >"$work/big" ;;
    medium | busy) [ -e "$memory/medium" ] || "$release/examples/photos" "$memory/medium" 200 5000000 1 ;;
    small | rsync) [ -e "$memory/small" ] || "$release/examples/photos" "$memory/small" 5000 100000 2 ;;
    tree) [ -e "$work/tree" ] || make_tree "$work/tree" ;;
    esac
    [ "$1" != busy ] || [ -e "$memory/queue" ] || "$release/examples/photos" "$memory/queue" 200 5000000 3
}

# 100 folders of 1,000 empty files. They are not photos, so that nothing happens but listing them.
make_tree() {
    local folder
    for folder in {001..100}; do
        mkdir -p "$1/$folder"
        (cd "$1/$folder" && touch {0001..1000}.txt)
    done
}

# mount_way WAY FOLDER [SPOOL]: creates FOLDER/t with its bytes in SPOOL or in a new directory.
mount_way() {
    local way=$1 folder=$2 kept=${3:-$2/kept} io=auto
    mkdir -p "$folder/t" "$kept"
    case $way in
    native) rmdir "$folder/t" && ln -s "$kept" "$folder/t" && return ;;
    rclone)
        start "$folder/log" rclone mount ":local:$kept" "$folder/t" --vfs-cache-mode writes --vfs-write-back 1h --dir-cache-time 1h \
            --attr-timeout 1h --cache-dir "$folder/cache"
        ;;
    *)
        mkdir "$folder/state"
        mv "$kept" "$folder/state/spool"
        [ -e "$folder/token" ] || echo bench >"$folder/token"
        [ "$way" != direct ] || io=direct
        start "$folder/log" "$release/heirloom" mount "$folder/t" --state "$folder/state" --foreground --io "$io" \
            --server "${server:-http://127.0.0.1:9}" --token-file "$folder/token"
        ;;
    esac
    until_true "$way is mounted" mountpoint -q "$folder/t"
}

# ext4 creates files slowly for minutes after many were removed: files are emptied now and removed at
# the end.
unmount_way() {
    [ ! -d "$2/t" ] || ! mountpoint -q "$2/t" || fusermount3 -u -z "$2/t"
    # Work that is left (hashing, uploads) does not matter.
    end_all_by KILL
    find "$2" -xdev -type f -size +0 -exec truncate -s 0 {} + 2>/dev/null || true
}

# timed COLUMN WAY COMMAND...
timed() {
    local column=$1 way=$2 begun=$EPOCHREALTIME
    shift 2
    "$@" >/dev/null
    awk -v from="$begun" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", to - from }' >>"$work/$column.$way"
}

# measure_way COLUMN WAY FOLDER: one measurement on a fresh mount.
measure_way() {
    local column=$1 way=$2 folder=$3
    mount_way "$way" "$folder"
    sync -f "$work"
    ready_memory "${mount_memory[$column]}"
    case $column in
    big)
        timed big "$way" cp "$work/big" "$folder/t/big"
        timed back "$way" cat "$folder/t/big"
        ;;
    medium | small) timed "$column" "$way" cp -r "$memory/$column" "$folder/t/" ;;
    rsync) timed rsync "$way" rsync -a "$memory/small/" "$folder/t/small/" ;;
    esac
    unmount_way "$way" "$folder"
}

# Both ways list one tree, through one mount for all rounds. (Listing is the same on both I/O paths
# of the mount; rclone takes minutes.)
measure_tree() {
    local way round turns=("${mount_ways[@]}")
    mount_way passthrough "$work/tree.passthrough" "$work/tree"
    ln -s "$work/tree.passthrough/state/spool" "$work/tree.native"
    for way in passthrough native; do list_tree "$way"; done
    rm "$work"/{list,find}.{passthrough,native}
    for ((round = 1; round <= rounds; round++)); do
        turns_of "$round" native passthrough
        for way in "${turns[@]}"; do list_tree "$way"; done
    done
    fusermount3 -u -z "$work/tree.passthrough/t"
    end_all_by KILL
}

list_tree() {
    local top="$work/tree.$1/"
    [ "$1" = native ] || top="$work/tree.$1/t/"
    timed list "$1" ls -lR "$top"
    timed find "$1" find "$top" -type f
}

# The same copy, with and without other uploads at the same time. The server has low priority,
# because it stands for another machine.
measure_busy() {
    local way folder port server
    for way in "${turns[@]}"; do
        folder="$work/$round.busy.$way"
        mkdir "$folder"
        port=$(free_port)
        start "$folder/server.log" nice -n 19 "$release/heirloom-server" --data "$folder/data" --listen "127.0.0.1:$port"
        until_true "heirloom-server listens" listens "$port"
        "$release/heirloom-server" user add bench --data "$folder/data" >"$folder/token"
        server="http://127.0.0.1:$port"
        [ "$way" = uploading ] || server=
        mount_way "$way" "$folder"
        ready_memory "${mount_memory[busy]}"
        if [ "$way" = uploading ]; then
            cp -r "$memory/queue" "$folder/t/"
            until_true "photos are being sent" is_sending "$folder/t"
        fi
        timed busy "$way" cp -r "$memory/medium" "$folder/t/"
        unmount_way "$way" "$folder"
    done
}

is_sending() { "$release/heirloom" status "$1" --json | grep -q '"sent_bytes": [1-9]'; }

# turns_of ROUND WAY...: leaves the order of the ways in that round in $turns.
turns_of() {
    local round=$1 way
    shift
    turns=()
    for way in "$@"; do
        [ "$way" = rclone ] && [ "$round" -gt "$rclone_rounds" ] && continue
        if [ $((round % 2)) -eq 1 ]; then turns+=("$way"); else turns=("$way" "${turns[@]}"); fi
    done
}

measure_column() {
    local column=$1 round way turns
    need_source "$column"
    case $column in
    tree) measure_tree && return ;;
    esac
    for ((round = 1; round <= rounds; round++)); do
        case $column in
        busy)
            turns_of "$round" idle uploading
            measure_busy
            continue
            ;;
        # Without rclone, which takes a minute.
        rsync) turns_of "$round" native passthrough direct ;;
        *) turns_of "$round" "${mount_ways[@]}" ;;
        esac
        for way in "${turns[@]}"; do measure_way "$column" "$way" "$work/$round.$column.$way"; done
    done
}

# Prints one line for each way: the median, the ratio to the first way, and all rounds.
print_column() {
    local column=$1 way one=
    printf '\n| %s | s | times | all rounds |\n|---|---|---|---|\n' "${mount_title[$column]}"
    for way in "${mount_ways[@]}" idle uploading; do
        [ -e "$work/$column.$way" ] || continue
        one=${one:-$way}
        printf '| %s | %s | %s | %s |\n' "${mount_label[$way]}" "$(median "$work/$column.$way")" \
            "$(ratio "$work/$column.$way" "$work/$column.$one")" \
            "$(paste -sd ' ' "$work/$column.$way")"
    done
}

# measure_mount [COLUMN...]: measures these columns, or all.
measure_mount() {
    local column filled
    [ $# -gt 0 ] || set -- "${mount_columns[@]}"
    printf '%s, %s cores, Linux %s; medians of %s rounds, interleaved; rclone: one round\n' \
        "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)" "$rounds"
    for column; do
        [ -n "${mount_fills[$column]-}" ] || fail "There is no column $column; choose from: ${mount_columns[*]}"
        measure_column "$column"
        for filled in ${mount_fills[$column]}; do print_column "$filled"; done
    done
}
