# Sourced by `run` and `test`: what every build shares. Nothing is kept outside of build/.
export CCACHE_DIR="$PWD/build/ccache"
export CCACHE_MAXSIZE=4G
export CCACHE_BASEDIR="$PWD"
export CCACHE_SLOPPINESS=pch_defines,time_macros  # precompiled headers are cached, too
export CCACHE_NOHASHDIR=1  # `run` and `test` share what they compile

# configure_and_build PRESET [TARGET...]: quiet while all is well; ninja prints what failed.
configure_and_build() {
    local preset=$1
    shift
    local folder=build/$preset
    if [ ! -f "$folder/build.ninja" ]; then
        mkdir -p "$folder"
        if ! cmake --preset "$preset" >"$folder/configure.log" 2>&1; then
            tail -n 40 "$folder/configure.log" >&2
            echo "cmake could not configure the preset '$preset' (the log is $folder/configure.log)." >&2
            return 1
        fi
    fi
    ninja -C "$folder" "$@"
}
