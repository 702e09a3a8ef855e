//! What an idle installation costs, its telemetry included: spans, metrics and logs are exported meanwhile.
//!
//! That a program takes less than 40 MiB is a promise of release builds, which take too long to be made for every run
//! of the tests. Before a release, `cargo test --workspace --release --locked --test e2e memory` asserts it; what is
//! built without optimisation is only kept from growing.

use std::time::Duration;

use skein_tests::stack::{PATIENCE, Setup, eventually, load, with_stack};

/// KiB of resident memory that a program may take when it has nothing to do.
const RESIDENT_MAX: u64 = 40 * 1024;
/// KiB of its own that an unoptimised program may take. Its code alone is larger than [`RESIDENT_MAX`], and
/// relocating that makes tens of megabytes private: this only notices what grows.
const OWN_MAX_UNOPTIMISED: u64 = 80 * 1024;
/// How long it is watched. Heartbeats, sweeps and exports come several times meanwhile.
const WATCHED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_programs_stay_small() {
    let setup = Setup::distributed("memory").workers(1).env("OTEL_METRIC_EXPORT_INTERVAL", "1000");
    with_stack(setup, async |stack| {
        load::publish(stack).await;
        // Not fresh, but idle again: whatever is loaded late has been.
        let runs = load::start(&stack.client, 5).await;
        load::finish(&stack.client, &runs, PATIENCE).await;
        // Exporting is on, and is what it would be in production: all of its buffers have been used.
        for signal in ["/v1/traces", "/v1/metrics", "/v1/logs"] {
            eventually("all telemetry leaves the programs", async || {
                let requests = stack.collector.requests();
                requests.iter().any(|request| request.path == signal).then_some(())
            })
            .await;
        }
        tokio::time::sleep(WATCHED).await;
        for program in [&stack.api, &stack.workers[0]] {
            let memory = program.memory().expect("it runs");
            println!("{}: {memory:?}, in KiB", program.name());
            let (counted, most) = if cfg!(debug_assertions) {
                (memory.own, OWN_MAX_UNOPTIMISED)
            } else {
                (memory.resident, RESIDENT_MAX)
            };
            assert!(counted < most, "{}: {memory:?}, in KiB", program.name());
        }
    })
    .await;
}
