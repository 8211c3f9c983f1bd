# shellcheck shell=bash The tests of the mount once more as an ordinary user, to whom the kernel
# grants less than to the administrator.

# ordinary_tests NAME...: runs these test programs of the client as nobody, then once more with the
# helper that lends files to the kernel. In a world of mounts of its own, where /dev/fuse may be
# used by everybody, as systems with fuse3 have it (some containers do not).
ordinary_tests() {
    local place name program tests=() ended=0
    for name; do tests+=(--test "$name"); done
    place=$(mktemp -d)
    cargo test --no-run -p heirloom "${tests[@]}" 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p' >"$place/programs"
    while read -r program; do cp "$program" "$place/"; done <"$place/programs"
    rm "$place/programs"
    cp "${CARGO_TARGET_DIR:-target}/debug/heirloom-passthrough" "$place/helper"
    mkdir -m 777 "$place/tmp"
    chmod 755 "$place"
    # shellcheck disable=SC2016 # The shell inside expands them.
    as_root unshare --mount --propagation private sh -c '
        set -e
        mknod -m 666 "$1/fuse" c 10 229
        mount --bind "$1/fuse" /dev/fuse
        cd "$1"
        all() {
            for program in ./mount_*; do
                TMPDIR=$1/tmp HOME=$1/tmp setpriv --reuid=65534 --regid=65534 --clear-groups "$program"
            done
        }
        all "$1"
        mv helper heirloom-passthrough
        PATH="$PATH:/usr/sbin:/sbin" setcap cap_sys_admin=ep heirloom-passthrough
        all "$1"' sh "$place" || ended=$?
    as_root rm -rf "$place"
    return "$ended"
}
