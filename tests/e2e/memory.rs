//! What an idle installation costs.

use std::time::Duration;

use skein_tests::stack::{PATIENCE, Setup, load, with_stack};

/// KiB of resident memory that a program may take when it has nothing to do.
const RESIDENT_MAX: u64 = 40 * 1024;
/// How long it is watched. Heartbeats, sweeps and exports come several times meanwhile.
const WATCHED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_programs_stay_small() {
    with_stack(Setup::distributed("memory").workers(1), async |stack| {
        load::publish(stack).await;
        // Not fresh, but idle again: whatever is loaded late has been.
        let runs = load::start(&stack.client, 5).await;
        load::finish(&stack.client, &runs, PATIENCE).await;
        tokio::time::sleep(WATCHED).await;
        for program in [&stack.api, &stack.workers[0]] {
            let memory = program.memory().expect("it runs");
            println!("{}: {memory:?} KiB", program.name());
            // The code of an unoptimised program alone is larger than the bound; its heap is the same.
            let counted = if cfg!(debug_assertions) { memory.own } else { memory.resident };
            assert!(counted < RESIDENT_MAX, "{}: {memory:?}", program.name());
        }
    })
    .await;
}
