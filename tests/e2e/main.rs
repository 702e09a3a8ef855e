//! Skein from the outside: its programs as OS processes, over both stacks where that means something.

mod lifecycle;
mod trace;
