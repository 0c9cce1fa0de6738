#!/bin/sh
# The main job from end to end on simulated scans, nothing downloaded: `make demo` runs this.
# BIN is the folder of the installed commands.
set -eu
SCORE="${BIN:-.venv/bin}/score-jax"
rm -rf demo
mkdir -p demo

echo "1/6  A shipped model on a simulated scan it has not seen: cord, white and grey matter on axial T2*w"
"$SCORE" simulate sci demo/axial --subjects 1 --scans 1 --seed 4 --contrast T2starw --acquisition axial --grid 0.5 \
  --thickness 5 --field-of-view 50,50,50 --healthy 1
"$SCORE" predict demo/axial --out demo/compartments --qc demo/pictures

echo "2/6  Area and shape of its cord and grey matter, slice by slice"
"$SCORE" areas "$(find demo/compartments -name '*label-cord_mask.nii.gz')" \
  --gm "$(find demo/compartments -name '*label-gm_mask.nii.gz')" --out demo/areas

echo "3/6  Simulating spinal cord injuries on T2-weighted MRI: 12 patients to learn from, 2 to test on"
"$SCORE" simulate sci demo/train --subjects 12 --seed 1 --acquisition isotropic --grid 1 --field-of-view 56,56,64
"$SCORE" simulate sci demo/test --subjects 2 --seed 2 --acquisition isotropic --grid 1 --field-of-view 56,56,64

echo "4/6  Training a 3-D U-Net on cord and lesion"
"$SCORE" train demo/train --regions cord,lesion --out demo/run --steps 240 --set validate_each=80

echo "5/6  Segmenting the test scans"
"$SCORE" predict demo/test --model demo/run --out demo/masks --qc demo/pictures

echo "6/6  Comparing with the truth"
"$SCORE" evaluate demo/masks demo/test/derivatives/truth --preset sciseg --out demo/scores

echo
echo "Areas:    demo/areas       (.tsv and .json, of the shipped model's masks in demo/compartments)"
echo "Masks:    demo/masks       (NIfTI, in each scan's own grid, with a JSON sidecar)"
echo "Scores:   demo/scores      (per case .tsv and summary.json)"
echo "Picture:  $(ls demo/pictures/*.png | head -n 1)"
echo "Training: demo/run         (progress.png, metrics.jsonl, checkpoints)"
