//! Why something came to an end, for programs and for people.

use std::fmt::Display;

use serde::{Serialize, Serializer};

/// Says of each reason, once, how JSON and metrics name it, how it reads, and which limit was reached
/// where one was.
macro_rules! reasons {
    ($of:ident: $($reason:pat => $code:literal, $words:literal $(, $max:expr)?;)+) => {
        impl $of {
            /// The reasons as JSON and metrics name them.
            pub const CODES: [&str; [$($code),+].len()] = [$($code),+];

            /// Its name.
            #[allow(unused_variables, reason = "a name has no values")]
            pub fn code(&self) -> &'static str {
                match self {
                    $($reason => $code,)+
                }
            }

            /// Its place in [`CODES`](Self::CODES).
            #[allow(unused_variables, reason = "a place has no values")]
            pub fn index(&self) -> usize {
                let is_it = [$(matches!(self, $reason)),+];
                is_it.iter().position(|is_it| *is_it).unwrap_or(0)
            }
        }

        impl std::fmt::Display for $of {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $($reason => write!(f, $words),)+
                }
            }
        }

        impl serde::Serialize for $of {
            #[allow(unused_variables, reason = "most have no limit")]
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let max: Option<u64> = match self {
                    $($reason => [$($max)?].first().copied(),)+
                };
                crate::reasons::keys(self.code(), max, self, to)
            }
        }
    };
}

/// The keys that tell a reason.
pub(crate) fn keys<S: Serializer>(
    reason: &str,
    max: Option<u64>,
    words: &impl Display,
    to: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Keys<'a> {
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<u64>,
        detail: String,
    }
    let detail = words.to_string();
    Keys {
        reason,
        max,
        detail,
    }
    .serialize(to)
}
