"""Draw `docs/fair_cycle.svg`: the paths of a real fair cycle going through the options of three choice blocks.

python docs/draw_fair_cycle.py
"""

from pathlib import Path

from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.network.kinds import KINDS

COLOURS = ("#0072b2", "#d55e00", "#009e73")  # Okabe and Ito: distinguishable for colour-blind people, too
DASHES = ("", "9 4", "2 4")
SEED, STEP = 42, 3
LEFT, COLUMN, TOP, ROW, BOX = 150, 250, 96, 62, 92


def text(x: float, y: float, content: str, size: int = 14, anchor: str = "middle", fill: str = "#222") -> str:
    """A line of text."""
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{content}</text>'


def line(x1: float, y1: float, x2: float, y2: float, path: int) -> str:
    """A stretch of one path, as a smooth curve."""
    middle = (x1 + x2) / 2
    dash = f' stroke-dasharray="{DASHES[path]}"' if DASHES[path] else ""
    curve = f"M {x1} {y1} C {middle} {y1}, {middle} {y2}, {x2} {y2}"
    return f'<path d="{curve}" fill="none" stroke="{COLOURS[path]}" stroke-width="3"{dash}/>'


def draw() -> str:
    """The picture as SVG text."""
    space = load_search_space()
    codes = fair_cycle(space, SEED, STEP)
    blocks = [0, 1, 4]
    width, height = LEFT + COLUMN * len(blocks) + 230, TOP + 3 * ROW + 74
    rows = [TOP + ROW * row for row in range(3)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        text(width / 2, 28, f"Fair cycle {STEP} of seed {SEED}: three subnets, every option of every block once", 18),
    ]
    for path, y in enumerate(rows):
        parts.append(text(20, y - 6, f"path {path + 1}", 14, "start", COLOURS[path]))
        parts.append(text(20, y + 12, format_code(codes[path]), 11, "start", COLOURS[path]))
        x, at = LEFT, y
        for column, block in enumerate(blocks):
            box = LEFT + COLUMN * column + 80
            target = rows[int(codes[path, block])]
            parts.append(line(x, at, box, target, path))
            # Results are scattered back into the order of the paths.
            parts.append(line(box + BOX, target, box + BOX + 78, y, path))
            x, at = box + BOX + 78, y
        parts.append(line(x, y, x + 12, y, path))
        parts.append(text(x + 20, y + 5, f"loss {path + 1}", 14, "start", COLOURS[path]))
    for column, block in enumerate(blocks):
        box = LEFT + COLUMN * column + 80
        parts.append(text(box + BOX / 2, TOP - 36, space.blocks[block].name, 15))
        for option, y in enumerate(rows):
            style = 'rx="6" fill="#f2f2f2" stroke="#444"'
            parts.append(f'<rect x="{box}" y="{y - 18}" width="{BOX}" height="36" {style}/>')
            parts.append(text(box + BOX / 2, y - 2, f"option {option}", 12))
            chosen = space.blocks[block]
            label = KINDS[chosen.kind].label(chosen.options[option]).replace("residual ", "")
            parts.append(text(box + BOX / 2, y + 12, label, 11, fill="#555"))
    end = LEFT + COLUMN * len(blocks) + 74
    parts.append(f'<path d="M {end} {rows[0] - 14} h 10 V {rows[2] + 14} h -10" fill="none" stroke="#444"/>')
    parts.append(text(end + 16, rows[1] + 5, "mean: one update", 14, "start"))
    parts.append(
        text(
            width / 2,
            height - 40,
            "gather the paths into option order, run each option on its own path, scatter back:",
            14,
        )
    )
    parts.append(
        text(
            width / 2,
            height - 18,
            f"the same graph whatever the permutations, one compilation for all {space.size:,} subnets",
            14,
        )
    )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    Path(__file__).with_name("fair_cycle.svg").write_text(draw(), encoding="utf-8")
