#!/bin/sh
# Installs what otpool's programs and tests need and this machine lacks. If nothing is missing it does nothing, and needs
# neither root nor the network. The library itself needs only Eigen and a C++20 compiler.
set -eu

usage="usage: cmake/bootstrap.sh [--with-torch] [--with-ci]

Installs, with apt-get, dnf or brew, what is missing of:
  a C++20 compiler, CMake 3.25 or later, Ninja, git, pkg-config, Eigen 3.4 or later, Catch2, Google Benchmark,
  CLI11, nlohmann-json, cairo, a font, oneTBB, libzip, HDF5, Open MPI

  --with-torch   also LibTorch, for train_mil and the adapter to it
  --with-ci      also what only the continuous integration needs: clang with its sanitizers and OpenMP, lld, Doxygen, Python 3 with venv and headers
  --help         this text"

with_ci=false
with_torch=false
for argument in "$@"; do
    case $argument in
    --with-ci) with_ci=true ;;
    --with-torch) with_torch=true ;;
    --help | -h) echo "$usage" && exit 0 ;;
    *) echo "$usage" >&2 && exit 2 ;;
    esac
done

have() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

# For each package manager: its packages, how to ask whether one is installed, how to install some. A package written as
# tool=package is installed only if the tool is missing: a compiler or a CMake from elsewhere is left alone.
if have apt-get; then
    packages="g++=g++ cmake=cmake ninja=ninja-build git=git pkg-config=pkg-config libeigen3-dev catch2
        libbenchmark-dev libcli11-dev nlohmann-json3-dev libcairo2-dev fonts-dejavu-core libtbb-dev
        libzip-dev libhdf5-dev libopenmpi-dev mpirun=openmpi-bin"
    ci_packages="clang++=clang libclang-rt-dev ld.lld=lld libomp-dev doxygen=doxygen python3=python3
        python3-venv python3-dev"
    torch_packages="libtorch-dev"
    installed() { dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }
    install() {
        as_root apt-get update -q -o Acquire::Retries=3
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
            -o Acquire::Retries=3 "$@"
    }
elif have dnf; then
    packages="g++=gcc-c++ cmake=cmake ninja=ninja-build git=git pkg-config=pkgconf-pkg-config eigen3-devel catch-devel
        google-benchmark-devel cli11-devel json-devel cairo-devel dejavu-sans-fonts tbb-devel
        libzip-devel hdf5-devel openmpi-devel"
    ci_packages="clang++=clang compiler-rt ld.lld=lld libomp-devel doxygen=doxygen python3=python3
        python3-devel"
    torch_packages="pytorch-devel"
    installed() { rpm --query --quiet "$1"; }
    install() { as_root dnf install -y "$@"; }
elif have brew; then
    packages="cmake=cmake ninja=ninja git=git pkg-config=pkgconf eigen catch2 google-benchmark cli11 nlohmann-json
        cairo tbb libzip hdf5 open-mpi"
    ci_packages="ld.lld=lld libomp doxygen=doxygen python3=python" # the system's compiler is a clang
    torch_packages="pytorch"
    installed() { brew list --versions "$1" >/dev/null 2>&1; }
    install() { brew install "$@"; }
else
    echo "bootstrap.sh: there is no apt-get, dnf or brew; please install what --help lists" >&2
    exit 1
fi
if $with_ci; then
    packages="$packages $ci_packages"
fi
if $with_torch; then
    packages="$packages $torch_packages"
fi

missing=""
for entry in $packages; do
    package=${entry#*=}
    case $entry in
    *=*) have "${entry%%=*}" && continue ;;
    esac
    installed "$package" || missing="$missing $package"
done

if [ -n "$missing" ]; then
    echo "bootstrap.sh: installing$missing"
    # shellcheck disable=SC2086  # a list of words
    install $missing
fi

# The distribution's CMake may be too old. Its own message would only speak of presets.
version=$(cmake --version | sed -n '1s/^cmake version //p')
case $version in
[0-2].* | 3.[0-9].* | 3.1[0-9].* | 3.2[0-4].*)
    echo "bootstrap.sh: CMake $version is too old, 3.25 or later is needed (for instance: pip install cmake)" >&2
    exit 1
    ;;
esac
