//! Faults in the configuration file.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

use super::Fault;

/// A text, or a table that has the same words as keys: `{ drop = "20%", udp = true }`.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a text such as \"drop=20%,udp\", or a table of texts, numbers and true \
                 such as { drop = \"20%\", udp = true }"
)]
enum Written {
    Text(String),
    Table(BTreeMap<String, Value>),
}

/// A value in a table.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Flag(bool),
    Whole(i64),
    Decimal(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = |(name, value): (String, Value)| match value {
            Value::Flag(true) => Ok(name),
            Value::Flag(false) => Err(format!("{name} = false says nothing; leave it out")),
            Value::Whole(number) => Ok(format!("{name}={number}")),
            Value::Decimal(number) => Ok(format!("{name}={number}")),
            Value::Text(text) => Ok(format!("{name}={text}")),
        };
        let text = match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Table(table) => {
                let words: Result<Vec<String>, _> = table.into_iter().map(word).collect();
                words.map_err(de::Error::custom)?.join(",")
            }
        };
        text.parse().map_err(de::Error::custom)
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
            ("[[fault]]\ndrop = [1]\n", "a table of texts"),
            ("fault = [3]\n", "a text such as"),
        ] {
            let error = toml::from_str::<File>(wrong).err().unwrap().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
