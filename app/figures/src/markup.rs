//! The small markup of labels: `*italic*`, `**bold**`, `x_{subscript}`, `10^{superscript}`, `\*` for a plain
//! character.
//!
//! Both painters take a label as a list of [`Run`]s. Nothing is ever an error: what is no complete markup is
//! drawn as it is written.

/// A piece of text in one style.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// What is written.
    pub text: String,
    /// Slanted.
    pub italic: bool,
    /// Heavy.
    pub bold: bool,
    /// On the line, below or above it.
    pub level: Level,
}

/// Height of a [`Run`] relative to its line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// On the line.
    #[default]
    Line,
    /// Subscript.
    Below,
    /// Superscript.
    Above,
}

impl Level {
    /// Size of the run over that of the line: 1, or 0.75 for what is raised or lowered.
    #[must_use]
    pub fn size(self) -> f32 {
        match self {
            Self::Line => 1.0,
            Self::Below | Self::Above => 0.75,
        }
    }

    /// How far the baseline lies below that of the line, in sizes of the line.
    #[must_use]
    pub fn drop(self) -> f32 {
        match self {
            Self::Line => 0.0,
            Self::Below => 0.18,
            Self::Above => -0.33,
        }
    }
}

/// Splits a label into runs of one style.
#[must_use]
pub fn parse(text: &str) -> Vec<Run> {
    let chars: Vec<char> = text.chars().collect();
    let mut runs = Vec::new();
    parse_into(&chars, Run::default(), &mut runs);
    runs
}

/// The label without its markup, as it stands in csv files and in lists.
#[must_use]
pub fn plain(text: &str) -> String {
    parse(text).into_iter().map(|run| run.text).collect()
}

/// Appends the runs of `chars`, all in at least the style of `style`.
fn parse_into(chars: &[char], style: Run, runs: &mut Vec<Run>) {
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let rest = chars.get(at + 1..).unwrap_or_default();
        match c {
            '\\' if !rest.is_empty() => {
                push(runs, &style, &rest[..1]);
                at += 2;
                continue;
            }
            '*' if rest.first() == Some(&'*') && !style.bold => {
                if let Some(n) = find(&rest[1..], &['*', '*']) {
                    parse_into(
                        &rest[1..=n],
                        Run {
                            bold: true,
                            ..style.clone()
                        },
                        runs,
                    );
                    at += n + 4;
                    continue;
                }
            }
            '*' if !style.italic => {
                if let Some(n) = find(rest, &['*']) {
                    parse_into(
                        &rest[..n],
                        Run {
                            italic: true,
                            ..style.clone()
                        },
                        runs,
                    );
                    at += n + 2;
                    continue;
                }
            }
            '_' | '^' if rest.first() == Some(&'{') && style.level == Level::Line => {
                if let Some(n) = find(&rest[1..], &['}']) {
                    let level = if c == '_' { Level::Below } else { Level::Above };
                    parse_into(
                        &rest[1..=n],
                        Run {
                            level,
                            ..style.clone()
                        },
                        runs,
                    );
                    at += n + 3;
                    continue;
                }
            }
            _ => {}
        }
        push(runs, &style, &[c]);
        at += 1;
    }
}

/// Where `end` begins in `chars`, not counting escaped characters; never at 0, as an empty pair is no markup.
fn find(chars: &[char], end: &[char]) -> Option<usize> {
    let mut at = 0;
    while at < chars.len() {
        if chars[at] == '\\' {
            at += 2;
            continue;
        }
        if chars[at..].starts_with(end) {
            return (at > 0).then_some(at);
        }
        at += 1;
    }
    None
}

fn push(runs: &mut Vec<Run>, style: &Run, text: &[char]) {
    // Control characters have no glyph, and XML forbids most of them.
    let text = text.iter().map(|&c| if c.is_control() { ' ' } else { c });
    match runs.last_mut() {
        Some(last)
            if (last.italic, last.bold, last.level) == (style.italic, style.bold, style.level) =>
        {
            last.text.extend(text);
        }
        _ => runs.push(Run {
            text: text.collect(),
            ..style.clone()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(text: &str) -> Run {
        Run {
            text: text.into(),
            ..Run::default()
        }
    }

    #[test]
    fn italics_bold_and_levels() {
        assert_eq!(
            parse("|*λ*_{1}| < 10^{-3}"),
            vec![
                run("|"),
                Run {
                    italic: true,
                    ..run("λ")
                },
                Run {
                    level: Level::Below,
                    ..run("1")
                },
                run("| < 10"),
                Run {
                    level: Level::Above,
                    ..run("-3")
                },
            ]
        );
        assert_eq!(
            parse("**a**b"),
            vec![
                Run {
                    bold: true,
                    ..run("a")
                },
                run("b")
            ]
        );
        assert_eq!(
            parse("x_{*i*}"),
            vec![
                run("x"),
                Run {
                    italic: true,
                    level: Level::Below,
                    ..run("i")
                }
            ]
        );
    }

    #[test]
    fn incomplete_markup_is_text() {
        for text in [
            "state_1",
            "a * b",
            "x^2",
            "x_{",
            "**",
            "x_{}",
            "snake_case_name",
            "a**",
            "\\",
        ] {
            assert_eq!(plain(text), text);
        }
        assert_eq!(plain(r"\*a\*"), "*a*");
        assert_eq!(plain(r"x\_{1}"), "x_{1}");
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in any::<String>()) {
            let characters = parse(&text).iter().map(|r| r.text.chars().count()).sum::<usize>();
            prop_assert!(characters <= text.chars().count());
        }

        #[test]
        fn text_without_marks_is_unchanged(text in "[a-zA-Z0-9 (),.%λµ-]{0,40}") {
            prop_assert_eq!(plain(&text), text);
        }
    }
}
