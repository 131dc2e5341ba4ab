//! Why something came to an end, for programs and for people.

use std::fmt::Display;

use serde::{Serialize, Serializer};

/// Declares reasons, each once: what it means, how JSON and metrics name it, how it reads, and which limit
/// was reached where one was.
macro_rules! reasons {
    (
        $(#[doc = $doc:literal])+
        $of:ident:
        $(
            $(#[doc = $reason_doc:literal])+
            $reason:ident $(($value:ident: $type:ty))? => $code:literal, $words:literal $(, $max:expr)?;
        )+
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $of {
            $($(#[doc = $reason_doc])+ $reason $(($type))?,)+
        }

        impl $of {
            /// The reasons as JSON and metrics name them.
            pub const CODES: [&str; [$($code),+].len()] = [$($code),+];

            /// Its name.
            pub fn code(&self) -> &'static str {
                Self::CODES[self.index()]
            }

            /// Its place in [`CODES`](Self::CODES).
            pub(crate) fn index(&self) -> usize {
                let is_it = [$(matches!(self, Self::$reason { .. })),+];
                is_it.iter().position(|is_it| *is_it).unwrap_or(0)
            }
        }

        impl std::fmt::Display for $of {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$reason $(($value))? => write!(f, $words),)+
                }
            }
        }

        impl serde::Serialize for $of {
            #[allow(unused_variables, reason = "most have no limit")]
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let max: Option<u64> = match self {
                    $(Self::$reason $(($value))? => [$($max)?].first().copied(),)+
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
