//! How events are written.

use echo_core::named;
use serde::{Deserialize, Serialize};

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lines that a person reads; more connections than one can read are summed up.
    #[default]
    Text,
    /// An object a line, with the keys of docs/EVENTS.md; never summed up.
    Json,
}

named!(Format);
