//! Claiming rows.

use std::collections::HashMap;
use std::sync::Arc;

use skein_shared::domain::ids::ActivationKey;
use skein_shared::store::Store;
use skein_shared::store::engine::{Claim, ClaimRequest};
use tokio::sync::Barrier;

use super::world::{World, span};

/// Eight workers ask for the same 200 rows at the same moment.
pub async fn many_workers_win_each_row_once(store: Arc<dyn Store>) {
    const WORKERS: usize = 8;
    let world = World::new(store).await;
    let runs = world.accept_many(200, &["a"]).await;
    let barrier = Arc::new(Barrier::new(WORKERS));
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let (world, barrier, mut runs) = (world.clone(), Arc::clone(&barrier), runs.clone());
        // Half of them ask in the other order, so that a statement that locks in the order of the
        // request deadlocks.
        if worker % 2 == 1 {
            runs.reverse();
        }
        workers.spawn(async move {
            let lease = world.lease().await;
            let request =
                |run: &_| ClaimRequest { key: ActivationKey::root(*run, "a"), span: span() };
            let batch: Vec<_> = runs.iter().map(request).collect();
            barrier.wait().await;
            let claims = world.store.claim(lease, false, &batch).await.unwrap();
            let won = runs.into_iter().zip(claims);
            won.filter(|(_, claim)| matches!(claim, Claim::Won(_)))
                .map(|(run, _)| run)
                .collect::<Vec<_>>()
        });
    }
    let mut wins: HashMap<_, u32> = HashMap::new();
    for run in workers.join_all().await.into_iter().flatten() {
        *wins.entry(run).or_default() += 1;
    }
    assert!(runs.iter().all(|run| wins.get(run) == Some(&1)), "{wins:?}");
}
