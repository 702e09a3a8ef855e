//! The command line of Skein, as a library: [`embedded`] is the whole of Skein in one process, [`client`]
//! speaks to a server, [`render`] makes what people read, [`commands`] puts them together.

pub mod commands;

pub mod connection;
pub mod data_directory;
pub mod embedded;
mod guest_store;

pub mod client;
pub mod render;

pub mod arguments;
pub mod failure;
pub mod input;

#[cfg(test)]
mod test_directory;
