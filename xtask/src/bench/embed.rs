//! Parts of a page that a run brings up to date; what people wrote around them stays.

/// `page` with `text` between the comments `<!-- bench: NAME -->` and `<!-- /bench -->`; `None`
/// where it has no such place.
pub fn embed(page: &str, name: &str, text: &str) -> Option<String> {
    let start = format!("<!-- bench: {name} -->\n");
    let from = page.find(&start)? + start.len();
    let to = from + page[from..].find("<!-- /bench -->")?;
    Some(format!(
        "{}\n{}\n\n{}",
        &page[..from],
        text.trim(),
        &page[to..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_the_comments_is_replaced_and_nothing_else() {
        let page =
            "a\n<!-- bench: x -->\nold\n<!-- /bench -->\nb\n<!-- bench: y -->\n<!-- /bench -->\n";
        let once = embed(page, "y", "new\n").unwrap();
        assert_eq!(
            once,
            "a\n<!-- bench: x -->\nold\n<!-- /bench -->\nb\n<!-- bench: y -->\n\nnew\n\n<!-- /bench -->\n"
        );
        assert_eq!(embed(&once, "y", "new").unwrap(), once);
        assert!(
            embed(page, "x", "new")
                .unwrap()
                .starts_with("a\n<!-- bench: x -->\n\nnew\n")
        );
        assert_eq!(embed(page, "z", "new"), None);
        assert_eq!(embed("<!-- bench: z -->\n", "z", "new"), None);
    }
}
