//! The command line of Skein, as a library: [`embedded`] is the whole of Skein in one process, [`client`]
//! speaks to a server, [`render`] makes what people read, [`commands`] puts them together.

// A closed pipe must not end a command that waits for a run: [`output`] writes.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod commands;

pub mod connection;
pub mod data_directory;
pub mod doctor;
pub mod embedded;
mod guest_key;
pub mod mock_models;
pub mod otlp;
pub mod signoz;

pub mod client;
pub mod http;
pub mod render;

pub mod arguments;
pub mod failure;
pub mod format;
pub mod input;
pub mod interrupts;
pub mod output;
pub mod shell;
pub mod time_argument;
pub mod usage;

#[cfg(test)]
mod test_directory;
