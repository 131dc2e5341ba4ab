//! Values that stand in files and documents as the text that is typed for them.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{
    self, DeserializeOwned, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

/// Has serde write a type as its `Display` does, and read it as its `FromStr` does; one of another type,
/// where that can.
#[macro_export]
macro_rules! as_text {
    ($type:ty $(, $of:ident: $($bound:tt)+)?) => {
        impl$(<$of: $($bound)+>)? serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de $(, $of: $($bound)+)?> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::text::read(deserializer)
            }
        }
    };
}

/// Has a type that is one of a few names be shown as serde writes it, and read as serde reads it.
#[macro_export]
macro_rules! named {
    ($type:ty) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                $crate::text::named(name)
            }
        }
    };
}

/// What a name stands for.
///
/// # Errors
/// The names that there are.
pub fn named<T: DeserializeOwned>(name: &str) -> Result<T, String> {
    let known = T::deserialize(IntoDeserializer::<de::value::Error>::into_deserializer(
        name,
    ));
    known.map_err(|error| {
        let error = error.to_string();
        let (_, names) = error.rsplit_once("expected ").unwrap_or_default();
        let names = names.trim_start_matches("one of ").replace('`', "");
        match names.rsplit_once(", ") {
            Some((most, last)) => format!("write {most} or {last}"),
            None => format!("write {names}"),
        }
    })
}

/// Reads a text, or a bare number as the same text would be read.
///
/// # Errors
/// It is neither, or means nothing to the type.
pub fn read<'de, T: FromStr<Err: fmt::Display>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(TextOrNumber(PhantomData))
}

struct TextOrNumber<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for TextOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse()
            .map_err(|error| E::custom(format!("invalid value {text:?}: {error}")))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// Reads a list, or a value as a list of that one.
///
/// # Errors
/// A value is none of these.
pub fn one_or_many<'de, T: Deserialize<'de>, L: From<Vec<T>>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<L, D::Error> {
    let values = deserializer.deserialize_any(OneOrMany(PhantomData));
    values.map(L::from)
}

struct OneOrMany<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, or a list")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(text.into_deserializer())?])
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(number.into_deserializer())?])
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(number.into_deserializer())?])
    }

    fn visit_bool<E: Error>(self, is: bool) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(is.into_deserializer())?])
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Vec<T>, A::Error> {
        Ok(vec![T::deserialize(MapAccessDeserializer::new(table))?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }
}
