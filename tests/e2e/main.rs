//! Skein from the outside: its programs as OS processes, over both stacks where that means something.

mod chaos;
mod lifecycle;
mod load;
mod trace;
