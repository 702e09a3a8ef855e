//! Skein from the outside: its programs as OS processes, over both stacks where that means something.

mod broker;
mod collector;
mod crash;
mod database;
mod drain;
mod lifecycle;
mod load;
mod memory;
mod reading;
mod trace;
