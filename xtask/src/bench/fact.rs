//! One measured promise that is no ratio of two servers.

/// What was promised, and what was found.
pub struct Fact {
    /// What was done.
    pub title: String,
    /// What was measured.
    pub measure: &'static str,
    /// What came out.
    pub value: String,
    /// What had to.
    pub target: String,
    /// Whether it did.
    pub pass: bool,
}
