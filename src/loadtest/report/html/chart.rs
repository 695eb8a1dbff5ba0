//! Charts as SVG, drawn here so that the page needs no script and no other file.

use std::fmt::Write as _;

use crate::loadtest::report::markup::escape;
use crate::loadtest::report::thousands;

/// A series of bars that are stacked, or a line.
pub(super) struct Series<'a> {
    /// What it is, in the legend.
    pub name: &'a str,
    /// The class of its colour in the page's style.
    pub class: &'static str,
    /// One value for each stretch.
    pub values: Vec<f64>,
}

/// Counts over time: stacked bars, and a line for what is allowed.
pub(super) struct OverTime<'a> {
    /// The length of a stretch in seconds.
    pub step: f64,
    /// The bars, from the bottom up.
    pub bars: Vec<Series<'a>>,
    /// The level that is allowed, if that is known, and its name.
    pub level: Option<(f64, String)>,
    /// Width and height in the units of the drawing.
    pub size: (f64, f64),
}

const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;

/// A number of steps that people count in, at most `most` of them up to `value`.
pub(super) fn nice(value: f64, most: f64) -> f64 {
    let rough = (value / most).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= rough).unwrap_or(10.0);
    step * power
}

/// A number as an axis shows it.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", trim(value / 1e6)),
        value if value >= 1e4 => format!("{}k", trim(value / 1e3)),
        value => trim(value),
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds as an axis shows them.
fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 3_600.0 => format!("{} h", trim(seconds / 3_600.0)),
        seconds if seconds >= 120.0 => format!("{} min", trim(seconds / 60.0)),
        seconds => format!("{} s", trim(seconds)),
    }
}

fn open(out: &mut String, (width, height): (f64, f64), label: &str) {
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\" preserveAspectRatio=\"xMidYMid meet\">",
        escape(label)
    );
}

impl OverTime<'_> {
    /// The drawing.
    pub(super) fn draw(&self, label: &str) -> String {
        let count = self.bars.iter().map(|series| series.values.len()).max().unwrap_or(0);
        let total =
            |at: usize| self.bars.iter().map(|series| series.values.get(at).copied().unwrap_or(0.0)).sum::<f64>();
        let highest = (0..count).map(total).fold(0.0, f64::max);
        let highest = highest.max(self.level.as_ref().map_or(0.0, |(level, _)| *level)).max(1.0) * 1.05;
        let (width, height) = self.size;
        let (inner, tall) = (width - LEFT - RIGHT, height - TOP - BOTTOM);
        let x = |at: f64| LEFT + inner * at / (count.max(1) as f64);
        let y = |value: f64| TOP + tall * (1.0 - value / highest);
        let mut out = String::new();
        open(&mut out, self.size, label);
        let step = nice(highest, tall / 34.0);
        for tick in (0..).map(|tick| f64::from(tick) * step).take_while(|tick| *tick <= highest) {
            let at = y(tick);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"axis\" x=\"{:.1}\" \
                 y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                width - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                short(tick)
            );
        }
        let length = count as f64 * self.step;
        let step = nice(length, inner / 90.0);
        for tick in (0..).map(|tick| f64::from(tick) * step).take_while(|tick| *tick <= length + 1e-9) {
            let _ = write!(
                out,
                "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x(tick / self.step),
                height - 8.0,
                time(tick)
            );
        }
        let gap = if inner / count.max(1) as f64 > 5.0 { 1.0 } else { 0.0 };
        for at in 0..count {
            let mut below = 0.0;
            let _ = write!(out, "<g><title>{}</title>", escape(&self.tip(at)));
            for series in &self.bars {
                let value = series.values.get(at).copied().unwrap_or(0.0);
                if value > 0.0 {
                    let _ = write!(
                        out,
                        "<rect class=\"{}\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\"/>",
                        series.class,
                        x(at as f64),
                        y(below + value),
                        (x(at as f64 + 1.0) - x(at as f64) - gap).max(0.3),
                        y(below) - y(below + value)
                    );
                }
                below += value;
            }
            out.push_str("</g>");
        }
        if let Some((level, _)) = &self.level {
            let at = y(*level);
            let _ = write!(
                out,
                "<line class=\"allowed\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
                width - RIGHT
            );
        }
        out.push_str("</svg>");
        out
    }

    fn tip(&self, at: usize) -> String {
        let mut text = format!("from {}", time(at as f64 * self.step));
        for series in &self.bars {
            let value = series.values.get(at).copied().unwrap_or(0.0);
            let _ = write!(text, "\n{}: {}", series.name, thousands(value as u64));
        }
        text
    }

    /// What the colours mean.
    pub(super) fn legend(&self) -> String {
        let mut out = String::from("<div class=\"legend\">");
        for series in &self.bars {
            let _ = write!(out, "<span><i class=\"{}\"></i>{}</span>", series.class, escape(series.name));
        }
        if let Some((_, name)) = &self.level {
            let _ = write!(out, "<span><i class=\"allowed\"></i>{}</span>", escape(name));
        }
        out.push_str("</div>");
        out
    }
}

/// Values side by side on a scale where each line is ten times the one before: groups of bars, each with a name.
pub(super) struct Groups<'a> {
    /// The names of the groups.
    pub groups: Vec<&'a str>,
    /// The bars of each group.
    pub bars: Vec<Series<'a>>,
    /// What the values are counted in.
    pub unit: &'a str,
    /// Width and height in the units of the drawing.
    pub size: (f64, f64),
}

impl Groups<'_> {
    /// The drawing.
    pub(super) fn draw(&self, label: &str) -> String {
        let values = || self.bars.iter().flat_map(|series| series.values.iter().copied()).filter(|value| *value > 0.0);
        let lowest = values().fold(f64::MAX, f64::min).min(1.0).log10().floor();
        let highest = values().fold(f64::MIN_POSITIVE, f64::max).log10().ceil().max(lowest + 1.0);
        let (width, height) = self.size;
        let (inner, tall) = (width - LEFT - RIGHT, height - TOP - BOTTOM);
        let y = |value: f64| {
            let share = (value.max(f64::MIN_POSITIVE).log10() - lowest) / (highest - lowest);
            TOP + tall * (1.0 - share.clamp(0.0, 1.0))
        };
        let mut out = String::new();
        open(&mut out, self.size, label);
        let mut power = lowest;
        while power <= highest {
            let (at, value) = (y(10_f64.powf(power)), 10_f64.powf(power));
            let shown = if value < 1.0 { format!("{value}") } else { short(value) };
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"axis\" x=\"{:.1}\" \
                 y=\"{:.1}\" text-anchor=\"end\">{shown}</text>",
                width - RIGHT,
                LEFT - 6.0,
                at + 4.0
            );
            power += 1.0;
        }
        let group = inner / self.groups.len().max(1) as f64;
        let bar = (group * 0.8 / self.bars.len().max(1) as f64).min(46.0);
        for (number, name) in self.groups.iter().enumerate() {
            let middle = LEFT + group * (number as f64 + 0.5);
            let first = middle - bar * self.bars.len() as f64 / 2.0;
            for (place, series) in self.bars.iter().enumerate() {
                let value = series.values.get(number).copied().unwrap_or(0.0);
                let top = y(value);
                let _ = write!(
                    out,
                    "<g><title>{}, {name}: {} {}</title><rect class=\"{}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
                     height=\"{:.1}\"/></g>",
                    escape(series.name),
                    trim3(value),
                    self.unit,
                    series.class,
                    first + bar * place as f64,
                    bar - 2.0,
                    (TOP + tall - top).max(0.5)
                );
            }
            let _ = write!(
                out,
                "<text class=\"axis\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                height - 8.0,
                escape(name)
            );
        }
        out.push_str("</svg><div class=\"legend\">");
        for series in &self.bars {
            let _ = write!(out, "<span><i class=\"{}\"></i>{}</span>", series.class, escape(series.name));
        }
        out.push_str("</div>");
        out
    }
}

fn trim3(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A bar in a cell of a table, `share` of it filled.
pub(super) fn bar(share: f64, class: &str) -> String {
    let share = (share * 100.0).clamp(0.0, 100.0);
    format!("<span class=\"bar\"><i class=\"{class}\" style=\"width:{share:.1}%\"></i></span>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_count_as_people_do() {
        for (value, most, want) in [(100.0, 5.0, 20.0), (7.0, 5.0, 2.0), (1.0, 4.0, 0.5), (123_456.0, 6.0, 50_000.0)] {
            assert!((nice(value, most) - want).abs() < want * 1e-9, "{value} {most}: {}", nice(value, most));
        }
        assert_eq!([0.5, 12.0, 12_000.0, 2e6].map(short), ["0.5", "12", "12k", "2M"]);
        assert_eq!([1.0, 90.0, 180.0, 5_400.0].map(time), ["1 s", "90 s", "3 min", "1.5 h"]);
    }

    #[test]
    fn bars_stand_on_each_other_and_the_level_is_drawn() {
        let chart = OverTime {
            step: 1.0,
            bars: vec![
                Series { name: "admitted", class: "a", values: vec![10.0, 0.0] },
                Series { name: "refused", class: "b", values: vec![5.0, 0.0] },
            ],
            level: Some((10.0, "allowed".to_owned())),
            size: (256.0, 136.0),
        };
        let svg = chart.draw("<test>");
        assert!(svg.contains("aria-label=\"&lt;test&gt;\""), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2, "nothing is drawn of nothing");
        let number = |text: &str| text.split('"').next().unwrap().parse::<f64>().unwrap();
        let tops: Vec<f64> = svg.split("<rect").skip(1).map(|it| number(it.split(" y=\"").nth(1).unwrap())).collect();
        let level = number(svg.split("class=\"allowed\"").nth(1).unwrap().split("y1=\"").nth(1).unwrap());
        assert!((tops[0] - level).abs() < 0.1, "ten admitted reach the level of ten: {tops:?} {level}");
        assert!(tops[1] < tops[0], "what is refused stands on top");
    }
}
