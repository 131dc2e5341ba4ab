//! Faults in the configuration file.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Fault;

/// A text, or a table that has the same words as keys: `{ drop = "20%", udp = true }`.
impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable)
    }
}

struct TextOrTable;

/// A value in a table.
#[derive(Deserialize)]
#[serde(untagged, expecting = "write a text, a number or true")]
enum Value {
    Flag(bool),
    Whole(i64),
    Decimal(f64),
    Text(String),
}

impl<'de> Visitor<'de> for TextOrTable {
    type Value = Fault;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a text such as \"drop=20%,udp\", or a table such as { drop = \"20%\", udp = true }",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Fault, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Fault, A::Error> {
        let mut words = Vec::new();
        while let Some((name, value)) = table.next_entry::<String, Value>()? {
            words.push(match value {
                Value::Flag(true) => name,
                Value::Flag(false) => {
                    let cause = format!("{name} = false says nothing; leave it out");
                    return Err(de::Error::custom(cause));
                }
                Value::Whole(number) => format!("{name}={number}"),
                Value::Decimal(number) => format!("{name}={number}"),
                Value::Text(text) => format!("{name}={text}"),
            });
        }
        self.visit_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_the_same_as_a_text() {
        #[derive(Deserialize)]
        struct File {
            fault: Vec<Fault>,
        }
        let tables: File = toml::from_str(
            "fault = [{ truncate = 10, conn = 3 }, \"drop=20%,udp\", { stall = true }]\n",
        )
        .unwrap();
        let texts =
            ["truncate=10,conn=3", "drop=20%,udp", "stall"].map(|text| text.parse().unwrap());
        assert_eq!(tables.fault, texts);
        for (wrong, word) in [
            ("[[fault]]\ndrop = \"20\"\n", "at character 8"),
            ("[[fault]]\ndrop = false\n", "drop = false"),
            ("[[fault]]\ndrop = [1]\n", "write a text"),
            ("fault = [3]\n", "a text such as"),
        ] {
            let error = toml::from_str::<File>(wrong).err().unwrap().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
