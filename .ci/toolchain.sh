# How to build for a board: finds what is there, installs what is missing where it may.
# To be sourced by bash.

# Where it is set, cd may print where it went.
unset CDPATH

# board_toolchain TARGET finds or installs what builds for a Linux target, and sets
#   board_cargo    cargo with its subcommand's prefix, an array: "${board_cargo[@]}" "$subcommand" …
#   board_flags    flags for every build, an array
#   board_folder   the target folder
#   board_zig      something where zig links, else nothing
# Returns 1, after saying what is missing, when it can't be had, and 2 for a target that is none of these.
#
# Either the toolchain in use has the target (rustup target add TARGET), or, on Debian 12, the
# distribution's own Rust is taken, which is recent enough. Its standard library is a package for
# aarch64 and is built from its sources for the others. Programs are linked statically, so that the
# board needs nothing beside them: with glibc by Debian's compiler for it, with musl by zig.
board_toolchain() {
    local target=$1 packages=() own=0
    case $target in
        aarch64-unknown-linux-gnu | aarch64-unknown-linux-musl | armv7-unknown-linux-gnueabihf) ;;
        *)
            echo "$target: not one of aarch64-unknown-linux-gnu, aarch64-unknown-linux-musl," \
                "armv7-unknown-linux-gnueabihf"
            return 2 ;;
    esac
    board_cargo=(cargo)
    board_flags=(--locked --target "$target")
    board_folder=${CARGO_TARGET_DIR:-target}
    board_zig=
    [ -d "$(rustc --print target-libdir --target "$target")" ] && own=1
    [ $own -eq 1 ] || use_debian_rust "$target" || return 1
    case $target in
        aarch64-unknown-linux-gnu)
            [ $own -eq 1 ] || packages+=(libstd-rust-web-dev:arm64)
            use_glibc "$target" arm64 aarch64-linux-gnu ;;
        armv7-unknown-linux-gnueabihf)
            [ $own -eq 1 ] || build_std
            use_glibc "$target" armhf arm-linux-gnueabihf ;;
        aarch64-unknown-linux-musl)
            if [ $own -eq 0 ]; then
                build_std
                # zig brings the C library's start-up files itself.
                add_rustflag "$target" -Clink-self-contained=no
            fi
            use_zig || return 1 ;;
    esac
    debian_packages "${packages[@]}" || {
        [ $own -eq 1 ] || echo "Or, with rustup: rustup target add $target"
        return 1
    }
}

# board_linter sets board_clippy to clippy of the toolchain that board_toolchain has found, an array as board_cargo is.
# Returns 1, after saying what is missing, when it can't be had.
board_linter() {
    if [ "${board_cargo[0]}" != cargo ]; then
        # By its path: cargo would take the first one in PATH, which may be another compiler's.
        board_clippy=(/usr/bin/cargo-clippy clippy)
        debian_packages rust-web-clippy
        return
    fi
    board_clippy=(cargo clippy)
    cargo clippy --version >/dev/null 2>&1 || {
        echo "Missing: clippy (with rustup: rustup component add clippy)"
        return 1
    }
}

# bare_toolchain TARGET does the same for machines without an operating system, aarch64-unknown-none and
# thumbv7em-none-eabihf. Debian's Rust builds core from its sources, and needs a linker beside it.
bare_toolchain() {
    local packages=()
    board_cargo=(cargo)
    board_flags=(--locked --target "$1")
    board_folder=${CARGO_TARGET_DIR:-target}
    [ -d "$(rustc --print target-libdir --target "$1")" ] && return
    use_debian_rust "$1" || return 1
    packages+=(rust-web-src lld)
    board_flags+=(-Zbuild-std=core -Zbuild-std-features=compiler-builtins-mem)
    export RUSTC_BOOTSTRAP=1
    export CARGO_TARGET_AARCH64_UNKNOWN_NONE_LINKER=ld.lld CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER=ld.lld
    debian_packages "${packages[@]}"
}

# use_debian_rust TARGET takes the distribution's own Rust, with a target folder of its own.
use_debian_rust() {
    if [ "$(. /etc/os-release 2>/dev/null && echo "${ID:-} ${VERSION_ID:-}")" != "debian 12" ]; then
        echo "Missing: Rust for $1, which this script installs on Debian 12 alone; with rustup: rustup target add $1"
        return 1
    fi
    # What cargo fetches by HTTPS needs certificates, which its packages only recommend.
    packages+=(rustc-web cargo-web ca-certificates)
    board_cargo=(/usr/bin/cargo)
    board_folder=$board_folder/debian
    export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc CARGO=/usr/bin/cargo
}

# Builds the standard library too, from the sources that Debian ships beside its compiler.
build_std() {
    packages+=(rust-web-src)
    board_flags+=(-Zbuild-std=std,panic_abort)
    export RUSTC_BOOTSTRAP=1
}

# use_glibc TARGET ARCHITECTURE TRIPLE links statically with glibc, by Debian's compiler for the architecture.
use_glibc() {
    local linker=$3-gcc
    if [ "$(dpkg --print-architecture 2>/dev/null)" = "$2" ]; then
        # Debian has no cross compiler for the machine itself.
        linker=gcc
        packages+=(gcc libc6-dev)
    else
        packages+=("gcc-$3" "libc6-dev-$2-cross")
    fi
    export "$(cargo_variable "$1" LINKER)=$linker"
    add_rustflag "$1" -Ctarget-feature=+crt-static
}

# add_rustflag TARGET FLAG adds to the flags that are set already by a variable. cargo reads one of these alone, the first
# that is set, be it to nothing.
add_rustflag() {
    local variable=CARGO_ENCODED_RUSTFLAGS between=$'\x1f'
    if [ -z "${CARGO_ENCODED_RUSTFLAGS+set}" ]; then
        between=" "
        variable=RUSTFLAGS
        if [ -z "${RUSTFLAGS+set}" ]; then
            variable=$(cargo_variable "$1" RUSTFLAGS)
            [ -n "${!variable+set}" ] || export "$variable=${CARGO_BUILD_RUSTFLAGS:-}"
        fi
    fi
    export "$variable=${!variable:+${!variable}$between}$2"
}

# cargo_variable TARGET NAME prints what cargo calls the variable of a target.
cargo_variable() {
    echo "CARGO_TARGET_$1_$2" | tr a-z- A-Z_
}

# zig as the C compiler and linker, from the Python registry, in a folder of its own.
use_zig() {
    local venv=${CARGO_TARGET_DIR:-target}/zig
    if [ ! -x "$venv/bin/cargo-zigbuild" ]; then
        echo "Installing zig"
        python3 -c "import ensurepip" 2>/dev/null || debian_packages python3-venv || return 1
        python3 -m venv "$venv" && "$venv/bin/pip" install --quiet ziglang cargo-zigbuild || {
            echo "Missing: the Python packages ziglang and cargo-zigbuild (python3-venv, pip)"
            return 1
        }
    fi
    PATH=$(cd "$venv/bin" && pwd):$PATH
    board_zig=zig
}

# debian_packages PACKAGE[:ARCH]... installs those that are missing.
debian_packages() {
    local missing=() package
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "Missing, and this is not the root of a Debian machine: ${missing[*]}"
        return 1
    fi
    echo "Installing ${missing[*]}"
    for package in "${missing[@]}"; do
        case $package in *:*) dpkg --add-architecture "${package#*:}" || return 1 ;; esac
    done
    apt-get -qq update &&
        DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
            "${missing[@]}" </dev/null >/dev/null
}

installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# build_edge TARGET builds berth-edge for a board by what board_toolchain found, and sets edge to its path.
build_edge() {
    local build=build
    [ -z "$board_zig" ] || build=zigbuild
    "${board_cargo[@]}" $build "${board_flags[@]}" --target-dir "$board_folder" \
        --profile device -p berth-runtime --bin berth-edge || return 1
    edge=$(cd "$board_folder/$1/device" && pwd)/berth-edge
}
