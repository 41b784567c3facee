# What the scripts of this folder share: announced and timed steps, and how to build for ARM.
# To be sourced by bash.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

timings=()

# step TITLE COMMAND [ARGUMENT...] runs the command under a heading, and notes how long it took.
step() {
    local title=$1 begun=$SECONDS
    shift
    printf '\n==== %s\n' "$title"
    "$@"
    timings+=("$(printf '%5d s  %s' $((SECONDS - begun)) "$title")")
}

# Prints how long each step took.
print_timings() {
    printf '\n==== All steps done, in %d s\n' "$SECONDS"
    printf '%s\n' "${timings[@]}"
}

# The data sets by name, for the tests on real data, where the checkout has them beside it.
find_data() {
    if [ -z "${BERTH_DATA:-}" ] && [ -d ../shared/data ]; then
        BERTH_DATA=$(cd ../shared/data && pwd)
        export BERTH_DATA
    fi
    if [ -n "${BERTH_DATA:-}" ]; then
        echo "real data: $BERTH_DATA"
    else
        echo "real data: none; BERTH_DATA can name the folder that holds the data sets"
    fi
}

# arm_toolchain TARGET finds or installs what builds for a Linux target, and sets
#   arm_cargo    the command that builds for it, an array
#   arm_folder   where it builds
# Returns 1, after saying what is missing, when it can't be had.
#
# Either the toolchain in use has the target (rustup target add TARGET), or, on Debian 12, the
# packages of the distribution are taken, whose Rust is recent enough and has the target's standard
# library. Programs are linked statically, so that the machine they run on needs nothing beside them.
arm_toolchain() {
    local target=$1 arch tools
    case $target in
        aarch64-unknown-linux-gnu)
            arch=arm64 linker=aarch64-linux-gnu-gcc
            tools=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross) ;;
        armv7-unknown-linux-gnueabihf)
            arch=armhf linker=arm-linux-gnueabihf-gcc
            tools=(gcc-arm-linux-gnueabihf libc6-dev-armhf-cross) ;;
        *)
            echo "$target: not a target of these scripts"
            return 1 ;;
    esac
    local variable=${target^^}
    variable=CARGO_TARGET_${variable//-/_}
    export "${variable}_LINKER=$linker" "${variable}_RUSTFLAGS=-C target-feature=+crt-static"

    if [ -d "$(rustc --print target-libdir --target "$target")" ]; then
        debian_packages "$arch" "${tools[@]}" || return 1
        arm_cargo=(cargo)
        arm_folder=target
        return
    fi
    debian_packages "$arch" rustc-web cargo-web "libstd-rust-web-dev:$arch" "${tools[@]}" || {
        echo "Or, with rustup: rustup target add $target"
        return 1
    }
    arm_cargo=(env RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc /usr/bin/cargo)
    arm_folder=target/debian
}

# debian_packages ARCH PACKAGE... installs those packages that are missing. ARCH is that of the
# packages named with a colon.
debian_packages() {
    local arch=$1 missing=() package
    shift
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "Missing, and this is not the root of a Debian machine: ${missing[*]}"
        echo "There: dpkg --add-architecture $arch; apt-get update; apt-get install ${missing[*]}"
        return 1
    fi
    echo "Installing ${missing[*]}"
    dpkg --add-architecture "$arch" &&
        apt-get -qq update &&
        DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
            "${missing[@]}" </dev/null >/dev/null
}

installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}
