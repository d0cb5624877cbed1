#!/bin/sh
# Compares the poolings of train_mil on real bags and stores the tables for examples/README.md.
set -eu

if [ $# -lt 2 ]; then
    echo "usage: bench/train_mil.sh FOLDER NAME...      (FOLDER/NAME has X.npy, ptr.npy and y.npy)

Runs build/release/examples/train_mil on each, three seeds of ten folds, and writes bench/results/train_mil.md and examples/README.md." >&2
    exit 2
fi
here=$(dirname "$0")
folder=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for name in "$@"; do
    "$here/../build/release/examples/train_mil" --input "$folder/$name" --seeds 3 --table "$scratch/table.md"
    cat "$scratch/table.md" >>"$scratch/all.md"
    echo >>"$scratch/all.md"
done
sed '$d' "$scratch/all.md" >"$here/results/train_mil.md"
cmake -P "$here/update_readme.cmake"
