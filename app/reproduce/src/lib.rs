//! What the programs of the long suite share: pages of sections, each written by a program of its own, and peers.

pub mod peers;

/// A page with the section of this heading in place of the one that it has, or at its end. Sections begin with `## `.
pub fn with_section(page: &str, heading: &str, text: &str) -> String {
    let mut out = String::new();
    let mut written = false;
    for (found, section) in sections(page) {
        if found == heading {
            out += text;
            written = true;
        } else {
            out += section;
        }
    }
    if !written {
        if !out.is_empty() && !out.ends_with("\n\n") {
            out.push('\n');
        }
        out += text;
    }
    out
}

/// The sections of a page whose headings begin so, one after the other.
pub fn sections_beginning(page: &str, with: &str) -> String {
    sections(page)
        .into_iter()
        .filter(|(heading, _)| heading.starts_with(with))
        .map(|(_, section)| section)
        .collect()
}

/// Headings, without `## `, and whole sections; what stands before the first heading has an empty one.
fn sections(page: &str) -> Vec<(&str, &str)> {
    let mut starts: Vec<usize> = vec![0];
    starts.extend(page.match_indices("\n## ").map(|(at, _)| at + 1));
    starts.push(page.len());
    starts
        .windows(2)
        .map(|range| &page[range[0]..range[1]])
        .filter(|section| !section.is_empty())
        .map(|section| {
            let heading = section
                .strip_prefix("## ")
                .and_then(|rest| rest.lines().next())
                .unwrap_or_default();
            (heading, section)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\nText.\n\n## One\n\nA\n\n## Two\n\nB\n";

    #[test]
    fn a_section_takes_the_place_of_its_predecessor() {
        assert_eq!(
            with_section(PAGE, "One", "## One\n\nC\n\n"),
            "# Page\n\nText.\n\n## One\n\nC\n\n## Two\n\nB\n"
        );
        assert_eq!(
            with_section(PAGE, "Three", "## Three\n"),
            format!("{PAGE}\n## Three\n")
        );
    }

    #[test]
    fn sections_are_found_by_their_beginning() {
        assert_eq!(sections_beginning(PAGE, "T"), "## Two\n\nB\n");
        assert_eq!(sections_beginning(PAGE, "X"), "");
    }
}
