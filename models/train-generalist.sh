#!/bin/sh
# Makes the default weights generalist-{edge,vit}.vodw beside this script again.
# Usage: train-generalist.sh PCB_PAIRS, a folder with DeepPCB's group 00041 in MVTec layout
# (train/good: templates, test/defect, ground_truth/defect: filled boxes), see LICENSES.md.
set -eu
pcb_pairs=$1
models=$(dirname "$0")
for backbone in edge vit; do
    vod train "$pcb_pairs" --backbone "$backbone" --out "$models/generalist-$backbone.vodw" --force \
        --licence "trained on DeepPCB (github.com/tangsanli5201/DeepPCB, MIT)"
done
