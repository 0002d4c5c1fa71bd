//! "Did you mean": the known word nearest to a mistyped one.

/// Longer words are not compared: nobody mistypes them by one letter, and the
/// comparison is quadratic in their length.
const WORD_CHARS_MAX: usize = 64;
/// More candidates than this are not looked at; the first ones are as good a guess.
const CANDIDATES_MAX: usize = 256;

/// The candidate that differs least from `word`, if it differs by little.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let word: Vec<char> = word.chars().take(WORD_CHARS_MAX + 1).collect();
    if word.len() > WORD_CHARS_MAX {
        return None;
    }
    // A third of the letters may be wrong: "fils" is `files`, "x" is nothing.
    let allowed = (word.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .take(CANDIDATES_MAX)
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= allowed && *distance < candidate.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words (insert, delete, replace, swap two neighbours); case is no edit.
fn distance(word: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate.chars().take(WORD_CHARS_MAX + 1).collect();
    if word.len().abs_diff(candidate.len()) > 3 {
        return usize::MAX;
    }
    let same = |i: usize, j: usize| word[i].eq_ignore_ascii_case(&candidate[j]);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=candidate.len()).collect();
    for i in 0..word.len() {
        let mut row = vec![i + 1];
        for j in 0..candidate.len() {
            let replaced = above[j] + usize::from(!same(i, j));
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && same(i, j - 1) && same(i - 1, j) {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(word.len())
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_the_word_that_was_meant() {
        let known = ["files", "tenant_header", "packages", "commands", "health"];
        for (typed, meant) in [
            ("file", Some("files")),
            ("Files", Some("files")),
            ("tenant-header", Some("tenant_header")),
            ("comands", Some("commands")),
            ("haelth", Some("health")),
            ("x", None),
            ("", None),
            ("environment", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
        assert_eq!(nearest(&"a".repeat(100_000), known), None);
    }
}
