//! Small drawings: SVG as text. Nothing in it has a style of its own, for the page forbids that.

use std::fmt::Write as _;

use minijinja::HtmlEscape;

use crate::outcome::{Totals, Word};
use crate::report::printable;

/// Text for a drawing or for one of its attributes.
pub(super) fn escaped(text: &str) -> String {
    HtmlEscape(&printable(text)).to_string()
}

/// A drawing that grows.
#[derive(Debug, Default)]
pub(crate) struct Drawing(String);

impl Drawing {
    /// A rectangle.
    pub(crate) fn rect(&mut self, class: &str, [x, y, width, height]: [f64; 4], title: &str) {
        self.shape(
            &format!("rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\""),
            class,
            title,
        );
    }

    /// A line through points.
    pub(crate) fn path(&mut self, class: &str, points: &[(f64, f64)], title: &str) {
        let mut d = String::new();
        for (number, (x, y)) in points.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(d, "{}{x:.1} {y:.1}", if number == 0 { 'M' } else { 'L' });
        }
        self.shape(&format!("path d=\"{d}\""), class, title);
    }

    /// A dot.
    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64), title: &str) {
        self.shape(&format!("circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\""), class, title);
    }

    /// A cross: what went wrong has a shape of its own, not a colour alone.
    pub(super) fn cross(&mut self, (x, y): (f64, f64), title: &str) {
        let (left, right, top, bottom) = (x - 4.0, x + 4.0, y - 4.0, y + 4.0);
        let d = format!("M{left:.1} {top:.1}L{right:.1} {bottom:.1}M{left:.1} {bottom:.1}L{right:.1} {top:.1}");
        self.shape(&format!("path d=\"{d}\""), "bad-line", title);
    }

    /// Words.
    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let _ = write!(self.0, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(text));
    }

    /// What the other has, in front of what is there.
    pub(super) fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    fn shape(&mut self, shape: &str, class: &str, title: &str) {
        let name = shape.split(' ').next().unwrap_or_default();
        if title.is_empty() {
            let _ = write!(self.0, "<{shape} class=\"{class}\"/>");
        } else {
            let _ = write!(self.0, "<{shape} class=\"{class}\"><title>{}</title></{name}>", escaped(title));
        }
    }

    /// The whole, of this size; `label` is what is read instead of it.
    pub(crate) fn framed(&self, class: &str, (width, height): (f64, f64), label: &str) -> String {
        let (label, body) = (escaped(label), &self.0);
        format!(
            "<svg class=\"{class}\" role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {width:.0} {height:.0}\">{body}</svg>"
        )
    }

    /// A sign of this size beside the words that explain it.
    pub(super) fn sign(&self, (width, height): (f64, f64)) -> String {
        format!("<svg aria-hidden=\"true\" viewBox=\"0 0 {width:.0} {height:.0}\">{}</svg>", self.0)
    }
}

/// The verdicts as one bar, each as long as there are many of it.
pub(super) fn tally(totals: &Totals) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a share of a bar")]
    let share = |count: usize| count as f64 * 1000.0 / totals.cases.max(1) as f64;
    let mut text = String::from("<svg viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\">");
    let mut x = 0.0;
    for word in Word::ALL {
        let width = share(totals.count(word));
        if width > 0.0 {
            let gap = if width > 4.0 { width - 2.0 } else { width };
            let _ = write!(text, "<rect class=\"v-{word}\" x=\"{x:.1}\" y=\"0\" width=\"{gap:.1}\" height=\"10\"/>");
            x += width;
        }
    }
    text + "</svg>"
}
