"""
Sequence diagrams as SVG, drawn when the site is built: no script, no host to load one from, and both colour schemes.

The libraries that exist draw from a text in a language of their own, most of them in the browser. Here the source is
what the protocol did, so the drawing is all there is to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from durable_docs.stage import Message, Note, Who

if TYPE_CHECKING:
    from durable_docs.stage import Event

WIDTH = 800
_X = {Who.WORKER: 142, Who.AIRFLOW: 410, Who.CHILD: 665}
_TOP = 46
_NOTE_HEIGHT = 24
_NOTE_STEP = 34
_MESSAGE_STEP = 56
_CHARACTER_WIDTH = 6.6
_ENDS = {"death", "success", "failure", "rest"}


@dataclass
class _Drawing:
    y: float = _TOP + 24
    shapes: list[str] = field(default_factory=list)
    bars: list[str] = field(default_factory=list)
    open_bars: dict[Who, tuple[float, str]] = field(default_factory=dict)

    def note(self, note: Note) -> None:
        x = _X[note.who]
        if note.kind in {"try", "start"}:
            self.close_bar(note.who, "plain")
            self.open_bars[note.who] = (self.y, note.kind)
        width = len(note.text) * _CHARACTER_WIDTH + 18
        self.shapes.append(
            f'<g class="seq-note seq-{note.kind}">'
            f'<rect x="{x - width / 2:.1f}" y="{self.y - _NOTE_HEIGHT / 2:.1f}" width="{width:.1f}" '
            f'height="{_NOTE_HEIGHT}" rx="5"/>'
            f'<text x="{x}" y="{self.y + 4.5:.1f}" text-anchor="middle">{escape(note.text)}</text></g>'
        )
        if note.kind in _ENDS:
            self.close_bar(note.who, note.kind)
        self.y += _NOTE_STEP

    def message(self, message: Message) -> None:
        left, right = _X[Who.WORKER] + 7, _X[Who.AIRFLOW] - 5
        request_y, reply_y = self.y + 4, self.y + 22
        end = right if message.has_arrived else (left + right) / 2
        kind = " seq-late" if message.is_late else ""
        shapes = [_arrow(left, end, request_y, kind), _label(message.request, left, right, request_y - 5, kind)]
        if not message.has_arrived:
            shapes.append(_cross(end + 8, request_y))
        elif message.reply is None:
            middle = (left + right) / 2
            shapes += [_arrow(right, middle, reply_y, " seq-reply"), _cross(middle - 8, reply_y)]
        else:
            shapes += [
                _arrow(right, left, reply_y, f" seq-reply{kind}"),
                _label(message.reply, left, right, reply_y + 13, f" seq-reply-text{kind}"),
            ]
        self.shapes += shapes
        self.y += _MESSAGE_STEP

    def close_bar(self, who: Who, kind: str) -> None:
        if who not in self.open_bars:
            return
        start, opened_by = self.open_bars.pop(who)
        half, x = (6, _X[who])
        self.bars.append(
            f'<rect class="seq-bar seq-bar-{opened_by} seq-bar-{kind}" x="{x - half}" y="{start:.1f}" '
            f'width="{2 * half}" height="{max(self.y - start, 4):.1f}"/>'
        )


def draw(title: str, events: list[Event]) -> str:
    """Return the diagram, an ``svg`` element."""
    drawing = _Drawing()
    for event in events:
        if isinstance(event, Note):
            drawing.note(event)
        else:
            drawing.message(event)
    drawing.y += 6
    for who in tuple(drawing.open_bars):
        drawing.close_bar(who, "plain")
    height = drawing.y + 8
    lifelines = [
        f'<text class="seq-who" x="{x}" y="26" text-anchor="middle">{escape(who.value)}</text>'
        f'<line class="seq-life" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height - 8:.1f}"/>'
        for who, x in _X.items()
    ]
    return (
        f'<svg class="seq" role="img" viewBox="0 0 {WIDTH} {height:.0f}" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>" + "".join([*lifelines, *drawing.bars, *drawing.shapes]) + "</svg>"
    )


def describe(events: list[Event]) -> list[str]:
    """Return the same as lines of text, for those who do not see the picture."""
    return [_describe(event) for event in events]


def _describe(event: Event) -> str:
    if isinstance(event, Note):
        return f"{event.who.value}: {event.text}."
    if not event.has_arrived:
        return f"Request: {event.request}. It is delayed on its way."
    return f"Request: {event.request}. {'No reply arrives' if event.reply is None else f'Reply: {event.reply}'}."


def _arrow(start: float, end: float, y: float, kind: str) -> str:
    tip = -6 if end > start else 6
    return (
        f'<path class="seq-arrow{kind}" d="M{start:.1f} {y:.1f} H{end:.1f}"/>'
        f'<path class="seq-tip{kind}" d="M{end + tip:.1f} {y - 4:.1f} L{end:.1f} {y:.1f} '
        f'L{end + tip:.1f} {y + 4:.1f}"/>'
    )


def _cross(x: float, y: float) -> str:
    return f'<path class="seq-cross" d="M{x - 4:.1f} {y - 4:.1f} l8 8 m0 -8 l-8 8"/>'


def _label(text: str, left: float, right: float, y: float, kind: str) -> str:
    return (
        f'<text class="seq-label{kind}" x="{(left + right) / 2:.1f}" y="{y:.1f}" text-anchor="middle">'
        f"{escape(text)}</text>"
    )
