//! Skein from the outside: its programs as OS processes, over both stacks where that means something.

mod broker;
mod budgets;
mod collector;
mod commands;
mod crash;
mod database;
mod drain;
mod egress;
mod examples;
mod lifecycle;
mod live;
mod load;
mod memory;
mod model_crash;
mod models;
mod reading;
mod readme;
mod shell;
mod shown;
mod suspended;
mod trace;
mod waiting;
