# shellcheck shell=bash
# scripts/bench mount: how fast a mounted directory is, beside the disk it stands on. Each measurement stands in a fresh folder,
# with a fresh mount; nothing is uploaded while it runs, unless it says so.

# Where cargo puts the programs, and where everything happens; scripts/bench says.
: "${release:?}" "${work:?}" "${rounds:?}"

mount_ways=(native passthrough direct rclone)
declare -A mount_label=(
    [native]="native cp, same disk" [passthrough]="Heirloom, passthrough" [direct]="Heirloom, direct"
    [rclone]="rclone mount, writes cached"
)
mount_loads=(big medium small back rsync list find)
declare -A mount_title=(
    [big]="2 GiB file, same disk" [medium]="200 x 5 MB" [small]="5,000 x 100 KB" [back]="reading 2 GiB back"
    [rsync]="rsync -a, 5,000 x 100 KB" [list]="ls -lR, 100,000 files" [find]="find, 100,000 files"
)

# The photos lie in memory, as on another disk that is fast: cp within one disk lets the kernel copy, which it refuses into FUSE.
make_sources() {
    memory=$(mktemp -d /dev/shm/heirloom-bench-XXXXXX)
    "$release/examples/photos" "$memory/medium" 200 5000000 1
    "$release/examples/photos" "$memory/small" 5000 100000 2
    head -c 2147483648 /dev/urandom >"$work/big"
}

# mount_way WAY FOLDER: makes FOLDER/t, whose bytes lie in FOLDER/kept.
mount_way() {
    local way=$1 folder=$2
    mkdir -p "$folder/t" "$folder/kept"
    case $way in
    native) rmdir "$folder/t" && ln -s kept "$folder/t" ;;
    rclone)
        start "$folder/log" rclone mount ":local:$folder/kept" "$folder/t" --vfs-cache-mode writes --vfs-write-back 1h \
            --cache-dir "$folder/cache"
        ;;
    *)
        mkdir -p "$folder/state"
        mv "$folder/kept" "$folder/state/spool"
        echo bench >"$folder/token"
        start "$folder/log" "$release/heirloom" mount "$folder/t" --state "$folder/state" --foreground \
            --io "$([ "$way" = direct ] && echo direct || echo auto)" --server "${server:-http://127.0.0.1:9}" \
            --token-file "${token:-$folder/token}"
        ;;
    esac
    [ "$way" = native ] || until_true "$way is mounted" mountpoint -q "$folder/t"
}

unmount_way() {
    [ "$1" = native ] || fusermount3 -u -z "$2/t"
    end_all
    # Mass removals slow the disk's next creations down: files are emptied, and all goes at the end.
    find "$2" -xdev -type f -size +0 -exec truncate -s 0 {} + 2>/dev/null || true
}

timed() {
    local begun=$EPOCHREALTIME
    "$@" >/dev/null
    since_exactly "$begun"
}

since_exactly() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.4f\n", to - from }'; }

# mount_load LOAD WAY FOLDER: prints the seconds.
mount_load() {
    local load=$1 way=$2 folder=$3
    [ "$load" != list ] && [ "$load" != find ] || make_tree "$folder/kept"
    mount_way "$way" "$folder"
    sync -f "$work"
    case $load in
    big) timed cp "$work/big" "$folder/t/big" ;;
    medium | small) timed cp -r "$memory/$load" "$folder/t/" ;;
    back)
        cp "$work/big" "$folder/t/big"
        timed cat "$folder/t/big"
        ;;
    rsync) timed rsync -a "$memory/small/" "$folder/t/small/" ;;
    list) ls -lR "$folder/t/" >/dev/null && timed ls -lR "$folder/t/" ;;
    find) find "$folder/t/" -type f >/dev/null && timed find "$folder/t/" -type f ;;
    esac
    unmount_way "$way" "$folder"
}

# 100 folders of 1,000 empty files.
make_tree() {
    mkdir -p "$1"
    (cd "$1" && for folder in {001..100}; do mkdir "$folder" && (cd "$folder" && touch {0001..1000}.jpg); done)
}

# The median over all rounds of what a way took, divided by what native took in the same round.
ratio() {
    paste "$work/$1.$2" "$work/$1.native" | awk '{ print $1 / $2 }' | sort -n |
        awk '{ value[NR] = $1 } END { printf "%.2f", value[int((NR + 1) / 2)] }'
}

measure_mount() {
    local round way load ways
    make_sources
    for ((round = 1; round <= rounds; round++)); do
        say "Round $round of $rounds ..."
        ways=("${mount_ways[@]}")
        [ $((round % 2)) -eq 1 ] || ways=(rclone direct passthrough native)
        for load in "${mount_loads[@]}"; do
            for way in "${ways[@]}"; do
                mount_load "$load" "$way" "$work/$round.$load.$way" >>"$work/$load.$way"
            done
        done
    done
    rm -rf "$memory"
    print_mount_table
}

print_mount_table() {
    local way load
    printf '%s cores, Linux %s; times native cp, medians of %s interleaved rounds (native: seconds)\n\n|' \
        "$(nproc)" "$(uname -r)" "$rounds"
    for load in "${mount_loads[@]}"; do printf ' | %s' "${mount_title[$load]}"; done
    printf ' |\n|---|'
    for load in "${mount_loads[@]}"; do printf -- '---|'; done
    printf '\n'
    for way in "${mount_ways[@]}"; do
        printf '| %s' "${mount_label[$way]}"
        for load in "${mount_loads[@]}"; do
            if [ "$way" = native ]; then printf ' | %s' "$(median "$work/$load.native")"; else printf ' | %s' "$(ratio "$load" "$way")"; fi
        done
        printf ' |\n'
    done
}
