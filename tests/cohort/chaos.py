"""Work that workers import: quick, and deadly if its item says so."""

import os
import signal
import time
from pathlib import Path

import nibabel as nib
import numpy as np


def threshold(item):
    """Write a mask of a scan unless it is there; says whether it was written now."""
    source, target, deadly = item
    target = Path(target)
    if target.exists():
        return "was there"
    if deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    image = nib.load(source)
    mask = (np.asanyarray(image.dataobj) > 1).astype(np.uint8)
    beside = target.with_name(f".{os.getpid()}-{time.time_ns()}{target.name}")
    nib.save(nib.Nifti1Image(mask, image.affine), beside)
    os.link(beside, target)  # fails if somebody else has done it meanwhile
    beside.unlink()
    return "written"


def refuse(item):
    raise ValueError(f"{item} is refused")
