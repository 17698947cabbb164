"""Fine-tuning, experience replay, and joint training: what changes nothing of federated DP-SGD but the data."""

from __future__ import annotations

from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.method import Plain
from secure_fcl.strategies.section import GradientSection

finetune = GradientEntry(section=GradientSection(), method=lambda section: Plain())
replay = GradientEntry(
    section=GradientSection(),
    method=lambda section: Plain(memory=True),
    what="ER: fine-tuning on the stream and a memory of it (Chaudhry et al. 2019, arXiv 1902.10486, section 3).",
)
joint = GradientEntry(
    section=GradientSection(),
    method=lambda section: Plain(),
    what="The upper bound: fine-tuning on all tasks at once.",
    attackable=False,
    at_once=True,
)
