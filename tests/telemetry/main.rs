//! Telemetry as a collector and an operator see it: each test starts a process that has some.

mod export;
mod outage;
mod requests;
mod scenario_process;
mod tls;
