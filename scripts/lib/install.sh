# shellcheck shell=bash
# Messages, and installing with apt what this machine lacks.

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "This needs root: $*. Run it as root, then start again."
    fi
}

# install_missing PROGRAM=PACKAGE...: installs the packages of programs that are missing.
install_missing() {
    local pair missing=()
    for pair in "$@"; do
        # Some programs are in /usr/sbin, which is not on every user's PATH.
        PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "These packages are missing: ${missing[*]}. Install them, then start again."
    say "Installing ${missing[*]} ..."
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# What a build needs besides rustup's cargo.
need_compiler() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust with rustup (https://rustup.rs), then start again."
    install_missing cc=gcc
}

# A mount needs the kernel's FUSE device, readable and writable for this user.
need_fuse() {
    install_missing fusermount3=fuse3
    [ -e /dev/fuse ] || as_root modprobe fuse || true
    [ -e /dev/fuse ] || fail "There is no /dev/fuse: load the kernel module fuse (in a container, pass the device in)."
    { : <>/dev/fuse; } 2>/dev/null || fail "$(id -un) may not open /dev/fuse: check its permissions."
}

# build_release CARGO_ARGUMENT...: builds with the release profile, then moves the debug information
# of each program into a file of its own beside it (heirloom.debug), where backtraces and debuggers
# find it. (Cargo can only strip it away.)
build_release() {
    local program folder
    cargo build --quiet --release "$@"
    folder="${CARGO_TARGET_DIR:-${root:-$PWD}/target}/release"
    for program in "$folder"/heirloom "$folder"/heirloom-passthrough "$folder"/heirloom-server; do
        # A program that another build left stripped stays as it is.
        [[ $(objdump --section-headers "$program" 2>/dev/null) == *.debug_line* ]] || continue
        objcopy --only-keep-debug --compress-debug-sections "$program" "$program.debug"
        objcopy --strip-debug --add-gnu-debuglink="$program.debug" "$program" "$program.stripped"
        mv "$program.stripped" "$program"
    done
}
