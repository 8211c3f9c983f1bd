# shellcheck shell=bash
# What this machine lacks, installed with apt, and said.

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

# install_missing PROGRAM=PACKAGE...: installs the packages of the programs that are not here.
install_missing() {
    local pair missing=()
    for pair in "$@"; do
        # nginx lies in /usr/sbin, which is not on everybody's path.
        PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "Missing here: ${missing[*]}. Install them, then start again."
    say "Installing ${missing[*]} ..."
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# What building needs besides rustup's cargo.
need_compiler() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust with rustup (https://rustup.rs), then start again."
    install_missing cc=gcc
}

# A mount needs the kernel's FUSE device, open to us.
need_fuse() {
    install_missing fusermount3=fuse3
    [ -e /dev/fuse ] || as_root modprobe fuse || true
    [ -e /dev/fuse ] || fail "There is no /dev/fuse: load the kernel module fuse (in a container, pass the device in)."
    { : <>/dev/fuse; } 2>/dev/null || fail "/dev/fuse may not be opened by $(id -un): see the permissions of /dev/fuse."
}
