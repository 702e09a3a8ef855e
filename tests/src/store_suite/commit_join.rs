//! Tokens and joins.

use std::sync::Arc;

use skein_shared::domain::state::NodeState;
use skein_shared::store::Store;
use tokio::sync::Barrier;

use super::world::{World, deliver, token};

/// Two committers deliver the two tokens of a join at the same moment, 500 times over. Neither sees the
/// other's parent ended, so counting unfinished parents would lose most of them.
pub async fn two_parents_that_end_together_fire_their_join_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let runs = world.accept_many(500, &["a", "b"]).await;
    let barrier = Arc::new(Barrier::new(2));
    let mut committers = tokio::task::JoinSet::new();
    for node in ["a", "b"] {
        let (world, barrier, runs) = (world.clone(), Arc::clone(&barrier), runs.clone());
        committers.spawn(async move {
            let lease = world.lease().await;
            let mut fired = 0;
            for run in runs {
                let claimed = world.won(lease, run, node).await;
                barrier.wait().await;
                let commit = deliver(&claimed, token("join", 2, true));
                fired += world.flip(lease, commit).await.activated.len();
            }
            fired
        });
    }
    let fired: usize = committers.join_all().await.into_iter().sum();
    assert_eq!(fired, runs.len());
    for run in runs {
        assert_eq!(world.state(run, "join").await, Some(NodeState::Queued));
    }
}
