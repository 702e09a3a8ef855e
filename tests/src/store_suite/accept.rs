//! Accepting runs.

use std::sync::Arc;

use skein_shared::store::Store;
use skein_shared::store::runs::{Acceptance, Idempotency, NewRun};

use super::world::World;

fn keyed(world: &World, key: &str, digest: u8) -> NewRun {
    let idempotency = Some(Idempotency { key: key.to_owned(), digest: [digest; 32] });
    NewRun { idempotency, ..world.run_of(&["a"]) }
}

/// A client that repeats its request gets the run that it made, not another one.
pub async fn a_repeated_key_finds_the_first_run(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let first = keyed(&world, "k", 1);
    let accepted = world.store.accept_runs(std::slice::from_ref(&first)).await.unwrap();
    assert!(matches!(accepted[..], [Acceptance::Accepted { version: 1, .. }]), "{accepted:?}");
    let again = world.store.accept_runs(&[keyed(&world, "k", 1), keyed(&world, "k", 2)]).await;
    assert_eq!(again.unwrap(), [Acceptance::Repeated(first.id), Acceptance::KeyReused]);
}
