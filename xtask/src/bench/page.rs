//! The page about performance has two authors: the benchmark writes all of it but one section, and that about tails this
//! section. Each keeps what is the other's.

/// What stands around the section about tails.
const BEGIN: &str = "<!-- tails: written by `cargo xtask bench tail`; edits are lost at its next run -->\n";
const END: &str = "<!-- end of tails -->\n";

/// A page with a new section about tails: in the place of the old one, otherwise at the end.
pub fn with_tails(page: &str, section: &str) -> String {
    let section = format!("{BEGIN}\n{}\n\n{END}", section.trim());
    match parts(page) {
        Some((before, _, after)) => format!("{before}{section}{after}"),
        None if page.is_empty() => section,
        None => format!("{}\n\n{section}", page.trim_end()),
    }
}

/// A new page with the section about tails of the old one.
pub(crate) fn keeping_tails(page: &str, old: &str) -> String {
    parts(old).map_or_else(|| page.to_owned(), |(_, section, _)| with_tails(page, section))
}

fn parts(page: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (section, after) = rest.split_once(END)?;
    Some((before, section, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_its_elder_and_nothing_else() {
        let first = with_tails("# Page\n\ntext\n", "## Tails\n\none\n");
        assert!(
            first.starts_with("# Page\n\ntext\n\n<!-- tails")
                && first.ends_with("one\n\n<!-- end of tails -->\n")
        );
        let more = format!("{first}\nafter\n");
        let second = with_tails(&more, "## Tails\n\ntwo");
        assert_eq!(second, more.replace("one", "two"));
    }

    #[test]
    fn a_new_page_keeps_the_section() {
        let old = with_tails("old\n", "tails");
        assert_eq!(keeping_tails("new\n", &old), old.replace("old", "new"));
        assert_eq!(keeping_tails("new\n", "old\n"), "new\n");
    }
}
