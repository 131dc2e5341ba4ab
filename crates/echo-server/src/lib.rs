//! An echo server: TCP, UDP and Unix sockets, one event loop per thread.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! use echo_server::{Config, Server};
//!
//! let config = Config { listen: vec!["tcp://127.0.0.1:0".parse()?], ..Config::default() };
//! let server = Server::bind(config)?.spawn()?;
//! let mut stream = TcpStream::connect(server.addresses()[0].socket().unwrap())?;
//! stream.write_all(b"hello")?;
//! let mut reply = [0; 5];
//! stream.read_exact(&mut reply)?;
//! assert_eq!(&reply, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! Dropping the handle stops the server.

#[macro_use]
mod reasons;

#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod control;
pub mod event;
pub mod fault;
mod file;
pub mod fixture;
mod listen;
#[cfg(feature = "cli")]
pub mod log;
mod metrics;
mod name;
mod notify;
mod pulse;
mod running;
pub mod sandbox;
mod serve;
mod server;
pub mod settings;
mod shutdown;
mod socket;
pub mod thread;

pub use config::Config;
pub use control::Control;
pub use event::{Address, Event, Stats};
pub use listen::{Listen, On, Sockets};
pub use name::Name;
pub use running::{Handle, Running};
pub use serve::proxy;
pub use server::Server;
pub use shutdown::Shutdown;
