# shellcheck shell=bash
# libFuzzer on the stable compiler: the flags of cargo-fuzz without the sanitizers, which only a
# nightly compiler has.

fuzz_flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks"

# build_fuzz_targets: builds all fuzz targets into target/fuzz.
build_fuzz_targets() {
    # With --target, the flags apply to our code and not to build scripts.
    fuzz_host=$(rustc -vV | sed -n 's/^host: //p')
    RUSTFLAGS=$fuzz_flags cargo build --quiet --manifest-path tests/fuzz/targets/Cargo.toml --target "$fuzz_host" --target-dir target/fuzz
}

# fuzz_for SECONDS SEED: runs each target for SECONDS, starting from its corpus. Inputs that break a
# target are kept in target/fuzz/found.
fuzz_for() {
    local folder target output broken=()
    for folder in tests/fuzz/targets/fuzz_targets/*.rs; do
        target=$(basename "$folder" .rs)
        # Request bodies are messages, so they share that corpus.
        folder=tests/fuzz/corpus/${target/bodies/messages}
        mkdir -p "target/fuzz/found/$target" "target/fuzz/grown/$target"
        output=$(mktemp)
        "target/fuzz/$fuzz_host/debug/$target" -seed="$2" -max_total_time="$1" -timeout=10 -rss_limit_mb=2048 -max_len=8192 \
            -print_final_stats=1 -artifact_prefix="target/fuzz/found/$target/" \
            "target/fuzz/grown/$target" "$folder" >"$output" 2>&1 || broken+=("$target")
        say "  $target: $(fuzz_progress "$output")"
        [[ " ${broken[*]-} " != *" $target "* ]] || tail -n 30 "$output" >&2
        rm -f "$output"
    done
    [ ${#broken[@]} -eq 0 ] || { say "Failed: ${broken[*]}; see target/fuzz/found"; return 1; }
}

# Prints the edges that libFuzzer covered at first and at the end, and the number of runs. Zero edges
# at both ends would mean that coverage is not measured.
fuzz_progress() {
    awk '/cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") { if (first == "") first = $(i + 1); last = $(i + 1) } }
         /stat::number_of_executed_units/ { runs = $2 }
         END { printf "%s to %s edges in %s runs", first, last, runs }' "$1"
}
