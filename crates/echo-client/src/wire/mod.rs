//! What travels: codecs of payloads that tell where they belong.

pub mod echo;
pub mod message;
pub mod stamp;
