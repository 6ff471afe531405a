"""Sections of the settings with a module of their own, and what all sections have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stream_monitor.durations import Duration, Pace, WindowPace, format_duration, ms

MOST_SLIDES = 288
"""Slides of a window: so many parts of it are kept at most. 288 are a day by five minutes."""


class Section(BaseModel):
    """Base of all sections: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeSettings(Section):
    """Event time: panes, windows, and what is late."""

    pane: Duration = Field(ms("1s"), description="smallest slice of event time; fixed for an app")
    windows: tuple[WindowPace, ...] = Field(
        (Pace.tumbling(ms("1m")),),
        description="windows that are judged and published: `1h` tumbling, `1h/5m` sliding (the last hour, every five "
        "minutes); fixed for an app",
    )
    allowed_lateness: Duration = Field(ms("10s"), description="disorder within a partition that is waited for")
    max_skew: Duration = Field(ms("5s"), description="how far an event may lie after its own Kafka timestamp")
    idle_after: Duration = Field(
        ms("5s"), description="a partition that is read to its end and brings nothing this long is idle"
    )
    silence_after: Duration = Field(ms("10m"), description="all partitions idle this long: alert")

    @model_validator(mode="after")
    def _consistent(self) -> TimeSettings:
        if self.pane <= 0 or not self.windows:
            raise ValueError("pane must be above 0, and there must be at least one window")
        for window in self.windows:
            self._check(window)
        if len({window.size for window in self.windows}) < len(self.windows):
            raise ValueError("a window size is named twice: of each size one slide, windows are told apart by size")
        if self.max_skew > self.allowed_lateness:
            raise ValueError("max_skew must not be above allowed_lateness, or one bad clock makes good events late")
        return self

    def _check(self, window: Pace) -> None:
        size, slide, pane = (format_duration(x) for x in (*window, self.pane))
        if window.size <= 0 or window.size % self.pane:
            raise ValueError(f"window {size} is no multiple of {pane}")
        if window.slide <= 0 or window.slide % self.pane:
            raise ValueError(f"window {window}: its slide {slide} is no multiple of time.pane {pane}")
        if window.size % window.slide:
            raise ValueError(f"window {window}: its size {size} is no multiple of its slide {slide}")
        if window.size // window.slide > MOST_SLIDES:
            least = format_duration(-(-window.size // (MOST_SLIDES * self.pane)) * self.pane)
            raise ValueError(
                f"window {window} is {window.size // window.slide:,} slides long, at most {MOST_SLIDES} are kept: "
                f"slide by {least} or more"
            )


class BaselineSettings(Section):
    """What "normal" is: first values, recent ones, or the same hour of earlier weeks; a pinned baseline goes before."""

    first: Annotated[int, Field(ge=100, le=1_000_000, description="values that make a measure's baseline")] = 10_000
    kind: Literal["first", "rolling", "hour_of_week"] = Field(
        "first", description="first: those values for ever; rolling: the last `span`; hour_of_week: the same hours"
    )
    span: Duration = Field(ms("7d"), description="how much of the past a rolling baseline holds, in 28 slices")
    gap: Duration = Field(ms("1d"), description="how long before a window its rolling baseline ends")
    accept_after: Duration = Field(
        ms("14d"), description="a measure in alert this long is normal: recent baselines take it in again"
    )

    @model_validator(mode="after")
    def _consistent(self) -> BaselineSettings:
        if self.span < 28:
            raise ValueError("span must be at least 28ms, a millisecond a slice")
        return self


class SampleSettings(Section):
    """Rows of features that travel with the profiles, so that features are judged together: see detection.md."""

    rows: Annotated[int, Field(ge=0, le=1_000)] = Field(
        0, description="events of a version and pane whose features are kept side by side; 0: none"
    )
