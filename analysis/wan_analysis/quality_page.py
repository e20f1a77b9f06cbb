"""The page and the text about two runs whose videos were compared."""

from __future__ import annotations

from html import escape

from wan_analysis.html_page import page
from wan_analysis.quality import Comparison, Quality
from wan_analysis.quality_frames import Likeness

EQUAL, MISSING = "equal", "–"


def _decibels(part: Likeness | None, worst: bool = False, unit: str = "") -> str:
    if part is None:
        return MISSING
    value = part.worst_psnr_db if worst else part.psnr_db
    return EQUAL if value is None else f"{value:.1f}{unit}"


def _ssim(part: Likeness | None, worst: bool = False) -> str:
    value = None if part is None else part.worst_ssim if worst else part.ssim
    return MISSING if value is None else f"{value:.4f}"


def _judged(item: Comparison) -> str:
    return ", ".join(f"{run.upper()}: {judged.seen}{'' if judged.follows else ' (wrong)'}{'' if judged.colour_kept else ', colour lost'}"
                     for run, judged in item.judged.items()) or MISSING


COLUMNS = ("item", "PSNR in dB", "worst frame", "SSIM", "worst", "after H.264: PSNR", "worst frame", "SSIM", "latent, relative error",
           "motion")


def _row(item: Comparison) -> list[str]:
    worst = "" if item.frames is None or item.frames.worst_psnr_db is None else f" (frame {item.frames.worst_frame})"
    return [item.name, _decibels(item.frames), _decibels(item.frames, worst=True) + worst, _ssim(item.frames),
            _ssim(item.frames, worst=True), _decibels(item.video), _decibels(item.video, worst=True), _ssim(item.video),
            MISSING if item.latent is None else f"{item.latent.relative:.2e}", _judged(item)]


def _score_lines(quality: Quality) -> list[str]:
    lines = []
    for run, folder in (("a", quality.a), ("b", quality.b)):
        score = quality.score(run)
        if score is not None:
            motions = ", ".join(f"{name} {found['right']}/{found['asked']}" for name, found in score["by_motion"].items())
            lines.append(f"{folder}: motion as asked in {100 * score['motion']:.0f} %, colour kept in {100 * score['colour']:.0f} % "
                         f"of {score['clips']} clips ({motions})")
        if quality.a == quality.b:
            break
    return lines


def quality_text(quality: Quality) -> str:
    """Some lines for a terminal."""
    lines = []
    for item in quality.items:
        part = item.frames or item.video
        latent = f", latent {item.latent.relative:.2e}" if item.latent else ""
        lines.append(f"{item.name}: PSNR {_decibels(part, unit=' dB')}, worst frame {_decibels(part, worst=True, unit=' dB')}, "
                     f"SSIM {_ssim(part)}{latent}")
    lines += [f"{item.name}: {note}" for item in quality.items for note in item.notes]
    lines += [f"only in {folder}: {', '.join(names)}" for folder, names in ((quality.a, quality.only_in_a), (quality.b, quality.only_in_b))
              if names]
    return "\n".join([*lines, *_score_lines(quality)]) + "\n"


def curve(values: list[float | None], title: str, width: int = 420, height: int = 90) -> str:
    """PSNR over frames as a drawing inside the page; equal frames leave a gap."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    span = max(high - low, 1e-9)
    step = width / max(len(values) - 1, 1)
    points = " ".join(f"{index * step:.1f},{height - 14 - (value - low) / span * (height - 28):.1f}"
                      for index, value in enumerate(values) if value is not None)
    return (f'<figure><svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{escape(title)}">'
            f'<polyline points="{points}" fill="none" stroke="#0072B2" stroke-width="2"/>'
            f'<text x="0" y="10" font-size="10">{high:.1f} dB</text><text x="0" y="{height - 2}" font-size="10">{low:.1f} dB</text>'
            f"</svg><figcaption>{escape(title)}</figcaption></figure>\n")


def _table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n'


def _details(item: Comparison) -> str:
    parts = [f"<h2>{escape(item.name)}</h2>\n<p>{escape(item.prompt)}</p>\n"]
    parts += [f"<p class=\"note\">{escape(note)}</p>\n" for note in item.notes]
    for part, title in ((item.frames, "PSNR of each frame, before H.264"), (item.video, "PSNR of each frame, after H.264")):
        if part is not None:
            parts.append(curve(part.psnr_db_by_frame, title))
    if item.steps:
        parts.append(_table(("step", "relative error", "largest difference"),
                            [[str(step), f"{error.relative:.3e}", f"{error.largest:.3e}"] for step, error in enumerate(item.steps)]))
    return "".join(parts)


def quality_html(quality: Quality) -> str:
    """The whole page."""
    body = f'<p class="lead">A: {escape(str(quality.a))}<br>B: {escape(str(quality.b))}</p>\n'
    body += "".join(f"<p>{escape(line)}</p>\n" for line in _score_lines(quality))
    for folder, names in ((quality.a, quality.only_in_a), (quality.b, quality.only_in_b)):
        if names:
            body += f"<p>Only in {escape(str(folder))}: {escape(', '.join(names))}</p>\n"
    body += _table(COLUMNS, [_row(item) for item in quality.items])
    body += "".join(_details(item) for item in quality.items)
    return page("Quality of two runs", body)
