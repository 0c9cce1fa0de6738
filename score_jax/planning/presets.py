"""The constants of nnU-Net's planners: the plain one and the residual encoder presets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final


@final
@dataclass(frozen=True, slots=True)
class Planner:
    """Constants of one planner.

    Args:
      class_name: what nnU-Net calls it.
      plans_name: name of its plans file.
      network: class of its networks.
      residual: whether that is the residual encoder.
      convs: convolutions or blocks of each encoder stage; the last number repeats.
      reference: feature-map sizes that fit into `reference_gb`, 3-D (batch 2) and 2-D (batch 12).
      reference_gb: memory of the card they were measured on; also the default target.
      covered: largest share of the dataset's voxels in one batch.
    """

    class_name: str
    plans_name: str
    network: str
    residual: bool
    convs: tuple[int, ...]
    reference: tuple[float, float]
    reference_gb: float
    covered: float


def _residual(letter: str, reference: tuple[float, float], gigabytes: float) -> Planner:
    return Planner(
        class_name=f"nnUNetPlannerResEnc{letter}",
        plans_name=f"nnUNetResEncUNet{letter}Plans",
        network="dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        residual=True,
        convs=(1, 3, 4, 6),
        reference=reference,
        reference_gb=gigabytes,
        covered=1.0,
    )


PLANNERS: Final[Mapping[str, Planner]] = {
    "default": Planner(
        class_name="ExperimentPlanner",
        plans_name="nnUNetPlans",
        network="dynamic_network_architectures.architectures.unet.PlainConvUNet",
        residual=False,
        convs=(2,),
        reference=(560e6, 85e6),
        reference_gb=8,
        covered=0.05,
    ),
    "resenc-m": _residual("M", (680e6, 135e6), 8),
    "resenc-l": _residual("L", (2100e6, 380e6), 24),
    "resenc-xl": _residual("XL", (3600e6, 560e6), 40),
}
