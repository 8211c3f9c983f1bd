# shellcheck shell=bash
# The tests of the mount once more as an unprivileged user, to whom the kernel grants less than to
# the administrator.

# unprivileged_tests PROGRAM HELPER: runs parts of the test program `mount` as nobody, once without
# and once with the helper that opens passthrough files (HELPER). Both runs happen in a mount
# namespace of their own, where everybody may use /dev/fuse, as on systems with fuse3 (some
# containers do not allow it).
unprivileged_tests() {
    local folder status=0
    folder=$(mktemp -d)
    cp "$1" "$folder/mount_tests"
    cp "$2" "$folder/helper"
    mkdir -m 777 "$folder/tmp"
    chmod 755 "$folder"
    # shellcheck disable=SC2016 # The inner shell expands them.
    as_root unshare --mount --propagation private sh -c '
        set -e
        mknod -m 666 "$1/fuse" c 10 229
        mount --bind "$1/fuse" /dev/fuse
        cd "$1"
        failed=0
        as_nobody() {
            TMPDIR=$1/tmp HOME=$1/tmp setpriv --reuid=65534 --regid=65534 --clear-groups \
                ./mount_tests bytes:: files:: metadata:: names:: xattrs:: || failed=1
        }
        as_nobody "$1"
        mv helper "$2"
        PATH="$PATH:/usr/sbin:/sbin" setcap cap_sys_admin=ep "$2"
        as_nobody "$1"
        exit "$failed"' sh "$folder" "$(basename "$2")" || status=$?
    as_root rm -rf "$folder"
    return "$status"
}
