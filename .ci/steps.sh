# The checks, one function each, for .ci/run and .ci/full. To be sourced by bash, which goes to the
# root of the repository.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/toolchain.sh"
cd "$here/.."

export CARGO_TERM_COLOR=never
# What a second build would go on from is of no use to a clean checkout, and takes time to write.
export CARGO_INCREMENTAL=0
mkdir -p "${CARGO_TARGET_DIR:-target}"
built=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
sentence="a gripping film with a big heart"
every_core="cortex-a53 cortex-a72 cortex-a76 max,sve=off,sme=off"
timings=()
# A file, since steps may be in subshells, which can't change a variable of this one.
skipped=$(mktemp)
trap 'rm -f "$skipped"' EXIT

# step TITLE COMMAND [ARGUMENT...] runs the command under a heading, and notes how long it took.
step() {
    local title=$1 begun=$SECONDS
    shift
    printf '\n==== %s\n' "$title"
    "$@"
    timings+=("$(printf '%5d s  %s' $((SECONDS - begun)) "$title")")
}

# skip WHAT says that something is left out, and notes it for the end. It is no failure.
skip() {
    echo "SKIPPED: $1"
    echo "$1" >>"$skipped"
}

print_timings() {
    local count
    count=$(wc -l <"$skipped")
    if [ "$count" -eq 0 ]; then
        printf '\n==== All steps done, in %d s\n' "$SECONDS"
    else
        printf '\n==== Done, in %d s, but %d skipped\n' "$SECONDS" "$count"
    fi
    printf '%s\n' "${timings[@]}"
    sed 's/^/SKIPPED: /' "$skipped"
}

# The tests on real data run where BERTH_DATA names the folder of the data sets.
find_data() {
    if [ -n "${BERTH_DATA:-}" ]; then
        # Tests run in the folders of their crates.
        BERTH_DATA=$(cd "$BERTH_DATA" && pwd)
        export BERTH_DATA
        echo "Real data: $BERTH_DATA"
    else
        unset BERTH_DATA
        echo "Real data: none; BERTH_DATA can name the folder that holds the data sets"
        skip "the tests on real data"
    fi
}

# The tests of the CUDA kernels compile them as C++, and fail where they can't from here on.
find_cxx() {
    local compiler=${CXX:-c++}
    if command -v "$compiler" >/dev/null || { debian_packages g++ && command -v "$compiler" >/dev/null; }; then
        export BERTH_NEEDS_CXX=1
    else
        skip "the CUDA kernels on the host: no C++ compiler $compiler"
    fi
}

check_format() {
    cargo fmt --all --check
}

check_lints() {
    cargo clippy --workspace --all-targets --locked -- -D warnings
    # As part of the whole, so that what both have in common is not checked again. It needs no CUDA toolkit.
    cargo clippy --workspace --all-targets --features berth-trainer/cuda --locked -- -D warnings
    cargo clippy -p berth-runtime --no-default-features --locked -- -D warnings
    # By itself, since it has no std and aborts on a panic.
    cargo clippy -p berth-tests --bin berth-bare --features bare --profile device --locked -- -D warnings
}

check_docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
}

# Builds the tests and the programs, and gets the base model if there is data to use it on.
prepare_tests() {
    cargo test --workspace --no-run --locked
    if [ -n "${BERTH_DATA:-}" ]; then
        "$built/debug/berth" fetch sentence-transformers/all-MiniLM-L6-v2
    fi
}

# The whole road as a newcomer walks it, on a small seeded model.
walk_the_road() {
    rm -rf "$built/road"
    "$built/debug/berth" quickstart --tiny --output_dir "$built/road"
}

# A program without std and without an allocator links: nothing that a device runs allocates. Its
# answer is kept for the ARM cores to repeat.
prove_no_allocator() {
    cargo build --locked --profile device -p berth-tests --bin berth-bare --features bare
    "$built/device/berth-bare" "$sentence" <"$built/road/tiny.berth" | tee "$built/road/bits"
}

# test_on_arm CORE... runs the tests of the device's crates on emulated cores, and berth-bare, which
# has to print the workstation's bits.
# A subshell, as the others that may go over to another compiler.
test_on_arm() (
    local target=aarch64-unknown-linux-gnu core
    if ! { board_toolchain $target && debian_packages qemu-user; }; then
        skip "the tests on emulated ARM cores"
        exit
    fi
    local flags=("${board_flags[@]}" --target-dir "$board_folder")
    # Where nearly all is that is for AArch64 alone.
    if board_linter; then
        "${board_clippy[@]}" "${flags[@]}" -p berth-kernels --all-targets -- -D warnings
    else
        skip "lints of the kernels for ARM"
    fi
    # The C library after everything that asks for it.
    "${board_cargo[@]}" rustc "${flags[@]}" --profile device -p berth-tests --bin berth-bare \
        --features bare -- -C link-args="-Wl,-Bstatic -lc -lgcc_eh -lc"
    for core in "$@"; do
        printf -- '---- %s\n' "$core"
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu $core" \
            "${board_cargo[@]}" test "${flags[@]}" --lib --tests \
            -p berth-kernels -p berth-task -p berth-wordpiece -p berth-bundle -p berth-encoder
        qemu-aarch64 -cpu "$core" "$board_folder/$target/device/berth-bare" "$sentence" \
            <"$built/road/tiny.berth" | diff "$built/road/bits" -
        echo "$core answers with the same bits as the workstation"
    done
)

# Counts the instructions of queries on emulated ARM cores, and fails where they are more than 1 % above the newest
# record's.
count_instructions() (
    local target=aarch64-unknown-linux-gnu classifier=models/sentiment/sentiment.berth
    local tagger=$built/road/tagger.berth records=(benches/record/*-arm.json)
    if ! { board_toolchain $target && debian_packages qemu-user; }; then
        skip "instructions on emulated ARM cores"
        exit
    fi
    PYTHONDONTWRITEBYTECODE=1 python3 -m doctest benches/arm/count.py
    "${board_cargo[@]}" build "${board_flags[@]}" --target-dir "$board_folder" --release -p berth-count
    "$built/debug/berth-peer" --tagger $classifier "$tagger"
    python3 benches/arm/count.py --program "$board_folder/$target/release/berth-count" \
        --bundle tagger="$tagger" --bundle classifier=$classifier --lengths 16 128 384 --check "${records[-1]}"
)

# Machines without an operating system, each with a bundle in its flash: they have to print what berth-bare
# prints here.
bare_metal() {
    local bundle=models/sentiment/sentiment.berth flash=$built/road/flash
    if ! debian_packages qemu-system-arm; then
        skip "machines without an operating system"
        return
    fi
    cp $bundle "$flash"
    truncate --size 64M "$flash"
    on_bare_machine virt aarch64-unknown-none $bundle qemu-system-aarch64 -M virt -cpu cortex-a53 -m 128M \
        -drive if=pflash,unit=1,format=raw,readonly=on,file="$flash"
    bundle=$built/road/tiny.berth
    on_bare_machine mps2 thumbv7em-none-eabihf "$bundle" qemu-system-arm -M mps2-an386 \
        -device loader,file="$bundle",addr=0x100000,force-raw=on
}

# on_bare_machine NAME TARGET BUNDLE QEMU [ARGUMENT...] builds a machine's program and runs it. What it prints
# behind the answer is the memory that it takes.
on_bare_machine() (
    name=$1 target=$2 bundle=$3 printed=$built/road/$1
    shift 3
    if ! bare_toolchain "$target"; then
        skip "the machine $name"
        exit
    fi
    "${board_cargo[@]}" rustc "${board_flags[@]}" --target-dir "$board_folder" --profile device \
        -p berth-bare-metal --bin "berth-$name" --features "$name" -- \
        -D warnings -C link-arg=-T"$PWD/runtime/bare-metal/$name.ld"
    # What the program prints goes to standard output, and there alone; qemu's own words go elsewhere.
    timeout 600 "$@" -display none -serial none -monitor none -nic none -chardev stdio,id=console \
        -semihosting-config enable=on,target=native,chardev=console,arg="$sentence" \
        -kernel "$board_folder/$target/device/berth-$name" | tee "$printed"
    "$built/device/berth-bare" "$sentence" <"$bundle" | diff - <(sed '$d' "$printed")
    echo "$name answers with the same bits as the workstation"
)

fuzz_targets="damage bytes tables text json lines ${BERTH_FUZZ_TARGETS:-}"

# Whether fuzzers can be built by the toolchain in use: it ships AddressSanitizer's runtime, though it calls the flag
# unstable.
can_build_fuzzers() {
    if ! ls "$(rustc --print target-libdir)"/librustc-*_rt.asan.a >/dev/null 2>&1 ||
        ! command -v "${CXX:-c++}" >/dev/null; then
        echo "Missing: a toolchain with AddressSanitizer for $(rustc -vV | sed -n 's/^host: //p'), or a C++ compiler"
        return 1
    fi
}

# Builds the fuzzers with AddressSanitizer. The corpora come from the golden files. BERTH_FUZZ_FEATURES=tract
# has sessions run through tract, which takes minutes more to build; the feature checkpoint has the targets
# checkpoint and onnx, which BERTH_FUZZ_TARGETS adds to the others.
build_fuzzers() {
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    fuzzers=$built/fuzz
    # As part of the whole, which is built already.
    cargo build --workspace --locked --example seeds
    "$built/debug/examples/seeds" "$fuzzers/seeds"
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Cdebug-assertions -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table --cfg fuzzing" \
        cargo build --release --locked --target "$host" --target-dir "$fuzzers/build" \
        -p berth-fuzz --bins --no-default-features --features "libfuzzer ${BERTH_FUZZ_FEATURES:-}"
    fuzzers_built=$fuzzers/build/$host/release
}

# fuzz_one TARGET SECONDS [LIBFUZZER_FLAG...] goes on with the target's corpus. More than 64 MiB in one
# block, or ten seconds for one input, are a finding too.
fuzz_one() {
    local target=$1 seconds=$2
    shift 2
    mkdir -p "$fuzzers/corpus/$target" "$fuzzers/findings"
    BERTH_FUZZ_TABLES=$fuzzers/seeds/uncased.tables "$fuzzers_built/fuzz-$target" \
        -max_total_time="$seconds" -malloc_limit_mb=64 -rss_limit_mb=1024 -timeout=10 \
        -artifact_prefix="$fuzzers/findings/$target-" -print_final_stats=1 -verbosity=0 "$@" \
        "$fuzzers/corpus/$target" "$fuzzers/seeds/$target"
}

# fuzz SECONDS fuzzes every target for so long.
fuzz() {
    local target
    if ! can_build_fuzzers; then
        skip "fuzzing"
        return
    fi
    build_fuzzers
    for target in $fuzz_targets; do
        printf -- '---- %s\n' "$target"
        fuzz_one "$target" "$1" 2>&1 | tail -n 12
    done
}
