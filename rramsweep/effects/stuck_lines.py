"""Line failures: whole bit lines or word lines of stuck cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects.protocol import EffectBase
from rramsweep.effects.stuck_values import check_stuck, stick, stuck_notes
from rramsweep.errors import Sentence, one_of

LINES = ("bit", "word", "both")


@dataclass(frozen=True)
class StuckLines(EffectBase):
    """Lines fail as a whole, independent of each other; each cell is stuck at LRS and HRS at exactly the given rates.

    `lines: bit` or `word`: one uniform draw u a line decides as `Stuck` does for a cell, so a line fails at the rate
    of its cells. `both`: with `p = p_stuck_lrs + p_stuck_hrs`, a line of either kind fails with probability
    `q = 1 - sqrt(1 - p)`, at LRS with `p_stuck_lrs / (2 - q)` and at HRS with `p_stuck_hrs / (2 - q)`; where a failed
    bit line meets a failed word line the bit line decides, and a cell is stuck at LRS with
    probability `a + (1 - q) a = a (2 - q) = p_stuck_lrs`, a the rate of a line. The sets are disjoint and nested in
    those of a higher rate; with `both` this holds for failed lines and for all stuck cells together, but not for the
    state of a crossing.

    Stuck cells of a k x k tile have the index of dispersion `k (1 - p)` (`bit`, `word`), k times that of independent
    ones. Such failures are known as bit-line shorts (C.-Y. Chen et al., IEEE Trans. Computers 64(1) 180-190 (2015),
    abstract [R]); the law and equal rates of the two kinds are placeholders, not measured.

    A line is as long as the layer's array: outputs are bit lines, inputs (of a convolution: channels x kernel) word
    lines. p and n cells are in separate arrays and share no line. Tiles, lines that are open from some cell on, and the
    resistance of wires are not modelled.

    Args:
        p_stuck_lrs, p_stuck_hrs: rates of stuck *cells*, as in `Stuck`.
        g_lrs_uS, g_hrs_uS: where stuck cells sit, as in `Stuck`.
        distribution, cv_lrs, cv_hrs: their spread from cell to cell, as in `Stuck`.
        lines: which lines fail: `bit`, `word` or `both`.

    Raises:
        ValueError: an unknown kind of line, and what `Stuck` refuses.
    """

    version: ClassVar[int] = 1

    p_stuck_lrs: float = 0.0
    p_stuck_hrs: float = 0.0
    g_lrs_uS: float | None = None
    g_hrs_uS: float | None = None
    distribution: str = "normal"
    cv_lrs: float = 0.0
    cv_hrs: float = 0.0
    lines: str = "bit"

    def __post_init__(self) -> None:
        check_fields(self)
        check_stuck(self)
        one_of("lines", self.lines, LINES)

    def __call__(self, cells: Cells, rng: Stream) -> Tensor:
        """Conductances (uS) with all cells of failed lines stuck."""
        p = self.p_stuck_lrs + self.p_stuck_hrs
        if p == 0:
            return cells.g_uS
        # 1 / (2 - q), with 2 - q = 1 + sqrt(1 - p); p may exceed 1 by a rounding.
        share = 1 / (1 + math.sqrt(max(1 - p, 0.0))) if self.lines == "both" else 1.0
        bit_lines, word_lines = cells.lines
        bit = rng.child("bit").uniform((bit_lines, 1))
        word = rng.child("word").uniform((1, word_lines))
        if self.lines == "bit":
            lrs, hrs = self._failed(bit, share)
        elif self.lines == "word":
            lrs, hrs = self._failed(word, share)
        else:
            (bit_lrs, bit_hrs), (word_lrs, word_hrs) = self._failed(bit, share), self._failed(word, share)
            lrs, hrs = bit_lrs | (word_lrs & ~bit_hrs), bit_hrs | (word_hrs & ~bit_lrs)
        shape = cells.g_uS.shape
        return stick(
            self,
            cells,
            lrs.expand(bit_lines, word_lines).reshape(shape),
            hrs.expand(bit_lines, word_lines).reshape(shape),
            rng,
        )

    def notes(self, device: Device, t_s: float) -> Sequence[Sentence]:  # noqa: ARG002
        """Note on stuck conductances outside the window."""
        return stuck_notes(self, device)

    def _failed(self, u: Tensor, share: float) -> tuple[Tensor, Tensor]:
        return u < self.p_stuck_lrs * share, u >= 1 - self.p_stuck_hrs * share
