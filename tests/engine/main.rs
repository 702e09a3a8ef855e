//! The engine as a whole: what it makes of any graph, under any order of events, next to a reference
//! interpreter; and what it does about retries, crashes, cancellation and limits.

mod advance;
