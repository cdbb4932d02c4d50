//! Text: the embedded fonts, how wide a label is, and where it breaks.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef};

use crate::markup::{self, Level, Run};

/// The least size of any text, in points, also of subscripts.
pub const SMALLEST: f32 = 6.0;
/// Size of axis labels, legends and panel titles, in points.
pub const LABEL: f32 = 7.0;
/// Size of tick labels, in points.
pub const TICK: f32 = 6.5;
/// Size of panel letters and figure titles, in points.
pub const LETTER: f32 = 8.0;
/// Distance between baselines over the size: room for a subscript above a superscript.
pub const LEADING: f32 = 1.36;
/// Height of capital letters and figures over the size.
pub const CAP: f32 = 0.7;
/// Height of what rises above the baseline over the size.
pub const ASCENT: f32 = 0.76;
/// Depth of what hangs below the baseline over the size.
pub const DESCENT: f32 = 0.22;

/// The family of the embedded fonts.
pub const FAMILY: &str = "Liberation Sans";
/// Regular face.
pub const REGULAR: &[u8] = include_bytes!("../../../assets/fonts/LiberationSans-Regular.ttf");
/// Bold face.
pub const BOLD: &[u8] = include_bytes!("../../../assets/fonts/LiberationSans-Bold.ttf");
/// Italic face.
pub const ITALIC: &[u8] = include_bytes!("../../../assets/fonts/LiberationSans-Italic.ttf");

/// Measures text; each painter brings the fonts that it draws with.
pub trait Measure {
    /// Width in points of text of this size in points, on one line.
    fn width(&self, text: &str, size: f32, italic: bool, bold: bool) -> f32;
}

/// Measures with the embedded fonts, for files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Embedded;

impl Measure for Embedded {
    fn width(&self, text: &str, size: f32, italic: bool, bold: bool) -> f32 {
        static FACES: LazyLock<[Option<FontRef<'static>>; 3]> = LazyLock::new(|| {
            [REGULAR, BOLD, ITALIC].map(|data| FontRef::try_from_slice(data).ok())
        });
        let face = match (bold, italic) {
            (true, _) => &FACES[1],
            (false, true) => &FACES[2],
            (false, false) => &FACES[0],
        };
        let Some(font) = face else {
            return 0.6 * size * text.chars().count() as f32;
        };
        let units = font.units_per_em().unwrap_or(1.0);
        let mut width = 0.0;
        let mut last = None;
        for c in text.chars() {
            let glyph = font.glyph_id(c);
            width += font.h_advance_unscaled(glyph);
            if let Some(last) = last {
                width += font.kern_unscaled(last, glyph);
            }
            last = Some(glyph);
        }
        width / units * size
    }
}

/// Size of a run on a line of this size: smaller where raised or lowered, but never below [`SMALLEST`].
#[must_use]
pub fn run_size(size: f32, level: Level) -> f32 {
    match level {
        Level::Line => size,
        Level::Below | Level::Above => (size * level.size()).max(SMALLEST.min(size)),
    }
}

/// A line of runs with its width.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// What is written.
    pub runs: Vec<Run>,
    /// Width in points.
    pub width: f32,
}

/// Width of runs set on one line.
#[must_use]
pub fn width(runs: &[Run], size: f32, measure: &dyn Measure) -> f32 {
    runs.iter()
        .map(|run| measure.width(&run.text, run_size(size, run.level), run.italic, run.bold))
        .sum()
}

/// Width of marked-up text on one line.
#[must_use]
pub fn label_width(label: &str, size: f32, measure: &dyn Measure) -> f32 {
    width(&markup::parse(label), size, measure)
}

/// Breaks marked-up text into at most `most` lines no wider than `room`, between words where it can. What
/// does not fit ends in an ellipsis.
#[must_use]
pub fn wrap(
    label: &str,
    size: f32,
    bold: bool,
    room: f32,
    most: usize,
    measure: &dyn Measure,
) -> Vec<Line> {
    let mut runs = markup::parse(label);
    if bold {
        runs.iter_mut().for_each(|run| run.bold = true);
    }
    let mut lines: Vec<Line> = Vec::new();
    let mut line = Line::default();
    for word in words(&runs) {
        let wide = width(&word, size, measure);
        if line.width + width(trimmed(&word).as_slice(), size, measure) <= room {
            append(&mut line, &word, wide);
            continue;
        }
        if !line.runs.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        if wide <= room {
            append(&mut line, &word, wide);
            continue;
        }
        // A word wider than a line breaks anywhere.
        for run in &word {
            for c in run.text.chars() {
                let piece = [Run {
                    text: c.to_string(),
                    ..run.clone()
                }];
                let wide = width(&piece, size, measure);
                if line.width + wide > room && !line.runs.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                append(&mut line, &piece, wide);
            }
        }
    }
    if !line.runs.is_empty() {
        lines.push(line);
    }
    let cut = lines.len() > most;
    lines.truncate(most);
    let count = lines.len();
    for (i, line) in lines.iter_mut().enumerate() {
        line.runs = trimmed(&line.runs);
        line.width = width(&line.runs, size, measure);
        if cut && i + 1 == count {
            end_in_ellipsis(line, size, room, measure);
        }
    }
    lines
}

/// The runs cut after each space, so that every piece is a word with the space after it.
fn words(runs: &[Run]) -> Vec<Vec<Run>> {
    let mut words: Vec<Vec<Run>> = vec![Vec::new()];
    for run in runs {
        for piece in run.text.split_inclusive(' ') {
            if let Some(word) = words.last_mut() {
                word.push(Run {
                    text: piece.to_owned(),
                    ..run.clone()
                });
            }
            if piece.ends_with(' ') {
                words.push(Vec::new());
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Without spaces at the end.
fn trimmed(runs: &[Run]) -> Vec<Run> {
    let mut runs = runs.to_vec();
    while let Some(last) = runs.last_mut() {
        last.text.truncate(last.text.trim_end().len());
        if !last.text.is_empty() {
            break;
        }
        runs.pop();
    }
    runs
}

fn append(line: &mut Line, runs: &[Run], wide: f32) {
    for run in runs {
        match line.runs.last_mut() {
            Some(last)
                if (last.italic, last.bold, last.level) == (run.italic, run.bold, run.level) =>
            {
                last.text.push_str(&run.text);
            }
            _ => line.runs.push(run.clone()),
        }
    }
    line.width += wide;
}

fn end_in_ellipsis(line: &mut Line, size: f32, room: f32, measure: &dyn Measure) {
    loop {
        let mut runs = line.runs.clone();
        match runs.last_mut() {
            Some(last) => last.text.push('…'),
            None => return,
        }
        let wide = width(&runs, size, measure);
        if wide <= room
            || runs
                .iter()
                .map(|run| run.text.chars().count())
                .sum::<usize>()
                <= 1
        {
            *line = Line { runs, width: wide };
            return;
        }
        if let Some(last) = line.runs.last_mut() {
            last.text.pop();
        }
        if line.runs.last().is_some_and(|last| last.text.is_empty()) && line.runs.len() > 1 {
            line.runs.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(line: &Line) -> String {
        line.runs.iter().map(|run| run.text.as_str()).collect()
    }

    #[test]
    fn widths_are_those_of_the_font() {
        // Liberation Sans shares Arial's widths: figures 1139 of 2048 units, capital M 1706.
        assert!((Embedded.width("10", 2048.0, false, false) - 2278.0).abs() < 0.5);
        assert!((Embedded.width("M", 2048.0, false, false) - 1706.0).abs() < 0.5);
        assert!(Embedded.width("λ", 10.0, true, false) > 3.0);
        assert_eq!(Embedded.width("", 10.0, false, true), 0.0);
    }

    #[test]
    fn the_glyphs_that_figures_need_exist() {
        for data in [REGULAR, BOLD, ITALIC] {
            let font = FontRef::try_from_slice(data).unwrap();
            for c in "aZ09−×λμΔσ±≤≥°·…–µ|".chars() {
                assert_ne!(font.glyph_id(c).0, 0, "{c}");
            }
        }
    }

    #[test]
    fn breaks_between_words() {
        let lines = wrap("mean squared error", 10.0, false, 65.0, 3, &Embedded);
        assert_eq!(
            lines.iter().map(text).collect::<Vec<_>>(),
            ["mean squared", "error"].map(String::from)
        );
    }

    #[test]
    fn cuts_with_an_ellipsis() {
        let lines = wrap("one two three four", 10.0, false, 30.0, 1, &Embedded);
        assert_eq!(lines.len(), 1);
        assert!(text(&lines[0]).ends_with('…'), "{lines:?}");
        assert!(lines[0].width <= 30.0);
    }

    #[test]
    fn raised_text_stays_readable() {
        assert_eq!(run_size(7.0, Level::Above), SMALLEST);
        assert_eq!(run_size(12.0, Level::Below), 9.0);
    }

    proptest! {
        #[test]
        fn lines_keep_to_their_room(label in "[a-zA-Z0-9 *_{}^λ-]{0,60}", room in 12.0..200.0f32) {
            let lines = wrap(&label, 7.0, false, room, 3, &Embedded);
            prop_assert!(lines.len() <= 3);
            for line in &lines {
                prop_assert!(line.width <= room + 1e-3, "{line:?}");
            }
        }

        #[test]
        fn nothing_is_lost_with_room_enough(label in "[a-zA-Z0-9 ]{1,60}", room in 30.0..200.0f32) {
            let lines = wrap(&label, 7.0, false, room, 100, &Embedded);
            let joined: String = lines.iter().map(text).collect();
            prop_assert_eq!(joined.replace(' ', ""), label.replace(' ', ""));
        }
    }
}
