//! "Did you mean …?": the nearest of the names that would have been right.

/// The candidate nearest to `wrong`, when it is near enough to be what was meant.
///
/// Near enough is a Damerau-Levenshtein distance of a third of the longer name, at least one; a
/// difference in case alone always is.
pub fn nearest<'a, I>(wrong: &str, candidates: I) -> Option<&'a str>
where
    I: IntoIterator<Item = &'a str>,
{
    let mut best: Option<(usize, &str)> = None;
    let folded = wrong.to_lowercase();
    for candidate in candidates {
        let distance = strsim::damerau_levenshtein(&folded, &candidate.to_lowercase());
        let limit = (wrong.chars().count().max(candidate.chars().count()) / 3).max(1);
        if distance <= limit && best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(nearest("comand", ["command", "script"]), Some("command"));
        assert_eq!(nearest("Needs", ["name", "needs"]), Some("needs"));
        assert_eq!(nearest("banana", ["command", "script"]), None);
    }
}
