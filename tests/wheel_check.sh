#!/bin/sh
# The installed wheel, far from the sources: help, then predictions. BIN holds its commands.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$BIN/score-jax" --help > help.txt
grep -q predict help.txt
"$BIN/score-jax" simulate sci data --subjects 3 --seed 3 --acquisition isotropic --grid 1.5 --field-of-view 36,36,36
"$BIN/score-jax" train data --regions cord --out run --steps 2 \
  --set "sampling.patch=[16, 16, 16]" --set "unet.features=[4, 8]" --set validate_each=2
scan=$(find data -name '*_T2w.nii.gz' | grep -v derivatives | head -n 1)
"$BIN/score-jax" predict "$scan" --model run --out masks
ls masks/*label-cord*mask.nii.gz
"$BIN/score-jax" predict "$scan" --out shipped  # the model that ships
ls shipped/*label-cord*mask.nii.gz
"$BIN/score-jax" export gm --format web --out page  # needs neither Node nor the package onnx
ls page/index.html page/models/gm-*.onnx page/ort/*.wasm
echo "wheel: predicted with a trained and with the shipped model from a clean environment"
