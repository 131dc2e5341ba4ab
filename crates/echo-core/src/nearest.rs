//! The right word that is nearest to a wrong one.

/// The one of `known` that a slip of the finger makes `wrong`, or two in a word of six letters or more:
/// a letter left out, added, changed, or swapped with the next. `None` where a guess would be no help.
pub fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips = (wrong.chars().count() / 3).clamp(1, 2);
    let known = known.map(|word| (strsim::osa_distance(wrong, word), word));
    let near = known.filter(|(distance, _)| *distance <= slips);
    // Few slips are made at the first letter.
    let starts = |word: &str| word.chars().next() == wrong.chars().next();
    near.min_by_key(|(distance, word)| (*distance, !starts(word)))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_put_right_and_nothing_else_is_guessed() {
        let known = ["ping", "bench", "diagnose", "udp", "on", "conn"];
        for (wrong, right) in [
            ("pinf", Some("ping")),
            ("pign", Some("ping")),
            ("upd", Some("udp")),
            ("con", Some("conn")),
            ("diagnos", Some("diagnose")),
            ("dignosse", Some("diagnose")),
            ("localhost", None),
            ("x", None),
            ("list", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, known.into_iter()), right, "{wrong}");
        }
    }
}
