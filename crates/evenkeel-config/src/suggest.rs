//! "Did you mean": the known word that looks most like an unknown one.

/// The candidate that looks most like `word`, if one looks enough like it to be worth naming.
pub(crate) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long words cost time quadratic in their length and are no misspelling of ours.
    const LONGEST: usize = 64;
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let folded = fold(word);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (likeness(&folded, &fold(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Jaro-Winkler forgives a wrong ending, Damerau-Levenshtein a wrong beginning; a word must please both a little.
fn likeness(a: &str, b: &str) -> f64 {
    // One slip in a short word weighs much in both.
    if a.len() >= 3 && strsim::damerau_levenshtein(a, b) == 1 {
        return 0.99;
    }
    (strsim::jaro_winkler(a, b) + strsim::normalized_damerau_levenshtein(a, b)) / 2.0
}

fn fold(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn misspellings_are_found_and_strangers_are_not() {
        let known = ["listeners", "upstreams", "idle_timeout", "algorithm", "round_robin"];
        for (word, expected) in [
            ("listener", Some("listeners")),
            ("idleTimeout", Some("idle_timeout")),
            ("algoritm", Some("algorithm")),
            ("roundrobin", Some("round_robin")),
            ("server", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known), expected, "{word}");
        }
    }
}
