#!/bin/sh
# What an unprivileged user does with a mount; prints one line for each thing that worked.
# $1: the folder of the user; $2: the program; $3: the address of the server.
set -e

# Prints the id of the passthrough helper of the daemon; fails if there is none.
helper() {
    for process in /proc/[0-9]*; do
        if grep -qs "^PPid:.$daemon\$" "$process/status" && grep -qs '^Name:.heirloom-passth' "$process/status"; then
            echo "${process##*/}" && return
        fi
    done
    false
}

cd "$1"
export HOME="$1"
"$2" mount mount --state "$1/state" --token-file token --server "$3"
cp photo.jpg mount/a.jpg
stat -c 'owner %u' mount/a.jpg
cmp photo.jpg mount/a.jpg && echo 'read back'
chmod 640 mount/a.jpg && stat -c 'mode %a' mount/a.jpg
chown 0 mount/a.jpg 2>/dev/null || echo 'not given away'
touch -d '2001-02-03 04:05:06 UTC' mount/a.jpg && stat -c 'time %Y' mount/a.jpg
mkdir mount/trip && mv mount/a.jpg mount/trip/b.jpg
chmod 0 mount/trip/b.jpg && ! cat mount/trip/b.jpg >/dev/null 2>&1 && echo 'closed to its owner, too'
chmod 600 mount/trip/b.jpg
head -c 3000000 /dev/zero | dd of=mount/trip/b.jpg conv=notrunc bs=1M seek=1 2>/dev/null && echo 'written in place'
cp photo.jpg mount/a.jpg
"$2" wait mount >/dev/null
getfattr --only-values -n user.heirloom.state mount/trip/b.jpg && echo
"$2" free mount >/dev/null
getfattr --only-values -n user.heirloom.state mount/trip/b.jpg && echo
cp mount/trip/b.jpg back.jpg && sha256sum <back.jpg
"$2" status mount --json
daemon=$("$2" status mount --json | sed -n 's/^ *"pid": \([0-9]*\),*$/\1/p')
if old=$(helper); then
    kill -9 "$old"
    cmp photo.jpg mount/a.jpg && echo 'read without a helper'
    tries=0
    until new=$(helper) && [ "$new" != "$old" ]; do
        tries=$((tries + 1)) && [ "$tries" -lt 100 ]
        cmp photo.jpg mount/a.jpg
        sleep 0.1
    done
    echo 'another helper runs'
fi
"$2" unmount mount >/dev/null
! mountpoint -q mount && echo 'unmounted'
