//! A plot of waiting times as SVG: time to the right, the logarithm of the waiting time upward.

use maud::{Markup, html};

use super::samples::Waited;

/// Its size, in units of its own; it is scaled to the page.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 200.0;

/// Room for the labels.
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 8.0;

/// The scale, in seconds.
const SHORTEST: f64 = 1e-5;
const LONGEST: f64 = 10.0;

const MARKS: [(f64, &str); 7] = [
    (1e-5, "10 µs"),
    (1e-4, "100 µs"),
    (1e-3, "1 ms"),
    (1e-2, "10 ms"),
    (1e-1, "100 ms"),
    (1.0, "1 s"),
    (10.0, "10 s"),
];

/// How long clients waited, oldest first; of one point there is nothing to draw.
pub(super) fn waited(points: &[Waited]) -> Markup {
    let [first, .., last] = points else {
        return html! { p.empty { "No client was woken since somebody looked here." } };
    };
    let span = (last.at - first.at).max(1) as f64;
    let x = |point: &Waited| LEFT + (WIDTH - LEFT) * (point.at - first.at) as f64 / span;
    let line = |value: fn(&Waited) -> f64| {
        let points = points.iter().map(|point| format!("{:.1},{:.1}", x(point), y(value(point))));
        points.collect::<Vec<_>>().join(" ")
    };
    let words = format!(
        "Now half of the clients wait no longer than {}, and 99 of 100 no longer than {}.",
        super::pages::seconds(last.half),
        super::pages::seconds(last.most)
    );
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(words) {
            @for (value, label) in MARKS {
                line.grid x1=(LEFT) x2=(WIDTH) y1=(y(value)) y2=(y(value)) {}
                text x=(LEFT - 8.0) y=(y(value) + 4.0) text-anchor="end" { (label) }
            }
            polyline.most points=(line(|point| point.most)) {}
            polyline.half points=(line(|point| point.half)) {}
            text x=(LEFT) y=(HEIGHT - 4.0) { (format!("{:.0} s ago", span / 1e3)) }
            text x=(WIDTH) y=(HEIGHT - 4.0) text-anchor="end" { "now" }
        }
        p.legend { span.key.half {} "half wait no longer (" (super::pages::seconds(last.half)) ") "
            span.key.most {} "99 of 100 wait no longer (" (super::pages::seconds(last.most)) ")" }
    }
}

fn y(seconds: f64) -> f64 {
    let share = (seconds.clamp(SHORTEST, LONGEST) / SHORTEST).log10() / (LONGEST / SHORTEST).log10();
    HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_is_higher_and_within_the_picture() {
        let heights: Vec<_> = [0.0, 1e-5, 1e-3, 1.0, 10.0, 1e9].map(y).into();
        assert!(heights.is_sorted_by(|lower, higher| lower >= higher), "{heights:?}");
        assert!(heights.iter().all(|height| (TOP..=HEIGHT - BOTTOM).contains(height)), "{heights:?}");
        let point = |at, half| Waited { at, half, most: half * 10.0 };
        assert!(waited(&[point(0, 0.1)]).into_string().contains("No client"));
        let drawn = waited(&[point(0, 0.001), point(2000, 0.01)]).into_string();
        assert_eq!(drawn.matches("<polyline").count(), 2);
        assert!(drawn.contains("2 s ago") && drawn.contains("10.0 ms"), "{drawn}");
    }
}
