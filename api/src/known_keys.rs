//! The keys that were good, or no good, a moment ago: most requests ask no store who is calling.
//!
//! What that costs is how late a revocation arrives. A key that was checked is trusted for [`KEY_TRUST`]; while the
//! store cannot be asked, for [`KEY_KEPT`], and no longer, whatever the outage does. Both count from before the store was
//! asked, so an answer that was long on its way is no younger than what it says. A key that this process has revoked is
//! refused at once.
//!
//! [`KEY_TRUST`]: crate::limits::KEY_TRUST
//! [`KEY_KEPT`]: crate::limits::KEY_KEPT

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use skein_shared::store::keys::{FoundKey, KeyDigest};
use skein_shared::store::{KeyStore, StoreError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::key_uses::KeyUses;
use crate::limits::{
    KEY_DISTRUST, KEY_LOOKUPS_MAX, KEY_RENEWAL_MAX, KEY_TURN_MAX, KEYS_MAX, Limits,
};

/// The keys that were good, or no good, a moment ago.
pub(crate) struct KnownKeys {
    store: Arc<dyn KeyStore>,
    uses: KeyUses,
    known: Cache<KeyDigest, Known>,
    /// A memory of its own, so that guesses push no good key out of theirs.
    refused: Cache<KeyDigest, ()>,
    /// Keys that this process has revoked, for longer than a question that was asked before may be under way.
    revoked: Cache<KeyDigest, ()>,
    /// Permits for asking about a key that was good; guesses wait elsewhere.
    renewals: Semaphore,
    /// Permits for asking about a key that nothing is known of.
    lookups: Semaphore,
    /// See [`crate::limits::KEY_TRUST`].
    trust: Duration,
    /// See [`crate::limits::KEY_KEPT`].
    kept: Duration,
}

#[derive(Clone)]
struct Known {
    key: Arc<FoundKey>,
    /// When the store was asked.
    checked: Instant,
    /// When the key expires, by this process's clock.
    ends: Option<Instant>,
}

impl Known {
    fn has_ended(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= Instant::now())
    }

    /// For how much of `time` since it was checked it is still good.
    fn left_of(&self, time: Duration) -> Duration {
        let left = time.saturating_sub(self.checked.elapsed());
        self.ends.map_or(left, |ends| left.min(ends.saturating_duration_since(Instant::now())))
    }
}

impl KnownKeys {
    pub(crate) fn new(store: Arc<dyn KeyStore>, uses: KeyUses, limits: &Limits) -> Self {
        let (trust, kept) = (limits.key_trust, limits.key_kept);
        Self {
            store,
            uses,
            // Only to give memory back: these times are measured by a clock of their own.
            known: Cache::builder().max_capacity(KEYS_MAX).time_to_live(kept.max(trust)).build(),
            refused: Cache::builder().max_capacity(KEYS_MAX).time_to_live(KEY_DISTRUST).build(),
            revoked: Cache::builder()
                .max_capacity(KEYS_MAX)
                .time_to_live(2 * kept.max(trust))
                .build(),
            renewals: Semaphore::new(KEY_LOOKUPS_MAX),
            lookups: Semaphore::new(KEY_LOOKUPS_MAX),
            trust,
            kept,
        }
    }

    /// What the key stands for and may do. Keys are compared by their digests only, so how long it takes reveals
    /// nothing about a key.
    ///
    /// # Errors
    /// When the store cannot be asked, or nobody comes to ask it in time, about a key that was not good a
    /// short while ago. One that was is trusted longer then: an outage refuses requests by itself, and says so.
    pub(crate) async fn find(
        &self,
        digest: KeyDigest,
    ) -> Result<Option<Arc<FoundKey>>, StoreError> {
        if let Some(remembered) = self.remembered(&digest) {
            return Ok(remembered);
        }
        let is_stale = self.kept(&digest).is_some();
        let permits = if is_stale { &self.renewals } else { &self.lookups };
        let asked = match tokio::time::timeout(KEY_TURN_MAX, permits.acquire()).await {
            Ok(_permit) => match self.remembered(&digest) {
                // Somebody with the same key was before.
                Some(remembered) => return Ok(remembered),
                None if is_stale => {
                    // The request will ask the store too, and waits long enough for that alone.
                    let late = |_| Err(StoreError::Unavailable("no answer about a key".into()));
                    let asked = tokio::time::timeout(KEY_RENEWAL_MAX, self.ask(digest));
                    asked.await.unwrap_or_else(late)
                }
                None => self.ask(digest).await,
            },
            Err(_) => Err(StoreError::Unavailable("too many keys are being looked up".into())),
        };
        match asked {
            // Not what was kept when the question began: it may be over by now, or revoked.
            Err(error) if error.is_retryable() => self.kept(&digest).map(Some).ok_or(error),
            asked => asked,
        }
    }

    /// The key as the store has it now. For what outlives the trust in a key: whoever makes keys with one that was revoked
    /// elsewhere a moment ago would have some that are not.
    ///
    /// # Errors
    /// When the store cannot be asked, or nobody comes to ask it in time.
    pub(crate) async fn confirm(
        &self,
        digest: KeyDigest,
    ) -> Result<Option<Arc<FoundKey>>, StoreError> {
        let late = |_| StoreError::Unavailable("too many keys are being looked up".into());
        let permit = tokio::time::timeout(KEY_TURN_MAX, self.renewals.acquire());
        let _permit = permit.await.map_err(late)?;
        self.ask(digest).await
    }

    /// How long the key is trusted from now on without asking the store.
    pub(crate) fn trusted_for(&self, digest: &KeyDigest) -> Duration {
        self.known.get(digest).map_or(Duration::ZERO, |known| known.left_of(self.trust))
    }

    /// Refuses the key from now on: this process knows that it was revoked.
    pub(crate) fn forget(&self, digest: &KeyDigest) {
        // In this order: whoever remembers it in between looks whether it is among the revoked ones afterwards.
        self.revoked.insert(*digest, ());
        self.known.invalidate(digest);
    }

    async fn ask(&self, digest: KeyDigest) -> Result<Option<Arc<FoundKey>>, StoreError> {
        let checked = Instant::now();
        let Some(key) = self.store.find_key(&digest).await? else {
            self.known.invalidate(&digest);
            self.refused.insert(digest, ());
            return Ok(None);
        };
        let key = Arc::new(key);
        // Counted from before the question, when it was good for a little longer than it says.
        let ends = key.expires_in.map(|left| checked + left);
        self.known.insert(digest, Known { key: Arc::clone(&key), checked, ends });
        if self.revoked.contains_key(&digest) {
            // The store was asked before the revocation, and answers after it.
            self.known.invalidate(&digest);
            return Ok(None);
        }
        self.uses.note(digest);
        Ok(Some(key))
    }

    fn remembered(&self, digest: &KeyDigest) -> Option<Option<Arc<FoundKey>>> {
        match self.known.get(digest) {
            Some(known) if known.has_ended() => Some(None),
            Some(known) if known.checked.elapsed() < self.trust => Some(Some(known.key)),
            _ => self.refused.contains_key(digest).then_some(None),
        }
    }

    /// The key, while it is trusted although the store cannot be asked.
    fn kept(&self, digest: &KeyDigest) -> Option<Arc<FoundKey>> {
        let known = self.known.get(digest).filter(|known| !known.left_of(self.kept).is_zero());
        known.map(|known| known.key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use futures_util::future::join_all;
    use skein_shared::domain::key_scopes::KeyScopes;
    use skein_shared::domain::tenant::Identity;
    use skein_shared::store::keys::Ensured;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::auth::digest;
    use crate::limits::{KEY_KEPT, KEY_TRUST};

    /// Knows one key, until it is revoked, and counts the questions, until it fails.
    #[derive(Default)]
    struct OneKey {
        asked: AtomicUsize,
        touched: AtomicUsize,
        fails: OnceLock<fn() -> StoreError>,
        hangs: AtomicBool,
        is_revoked: AtomicBool,
        expires_in: Option<Duration>,
    }

    impl OneKey {
        fn asked(&self) -> usize {
            self.asked.swap(0, Ordering::Relaxed)
        }

        fn revoke(&self) {
            self.is_revoked.store(true, Ordering::Relaxed);
        }
    }

    #[async_trait]
    impl KeyStore for OneKey {
        async fn ensure_key(&self, _: &KeyDigest, _: &Identity) -> Result<Ensured, StoreError> {
            unreachable!("nobody makes keys here")
        }

        async fn find_key(&self, asked: &KeyDigest) -> Result<Option<FoundKey>, StoreError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let is_good = *asked == digest("good") && !self.is_revoked.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            if self.hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            if let Some(error) = self.fails.get() {
                return Err(error());
            }
            Ok(is_good.then(|| FoundKey {
                identity: Identity::new("o", "w", "u"),
                scopes: KeyScopes::all(),
                name: None,
                expires_at: None,
                expires_in: self.expires_in,
            }))
        }

        async fn touch_keys(&self, digests: &[KeyDigest]) -> Result<(), StoreError> {
            self.touched.fetch_add(digests.len(), Ordering::Relaxed);
            std::future::pending().await
        }

        async fn has_good_key(&self) -> Result<bool, StoreError> {
            unreachable!("nobody sets anything up here")
        }
    }

    /// What one replica knows.
    fn known_keys(store: &Arc<OneKey>) -> KnownKeys {
        let store = Arc::clone(store) as Arc<dyn KeyStore>;
        let shutdown = CancellationToken::new();
        let uses = KeyUses::start(Arc::clone(&store), &TaskTracker::new(), &shutdown);
        KnownKeys::new(store, uses, &Limits::default())
    }

    /// Whether the key lets a request in.
    async fn lets_in(keys: &KnownKeys) -> bool {
        keys.find(digest("good")).await.is_ok_and(|found| found.is_some())
    }

    const MOMENT: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn a_revoked_key_is_refused_at_once_here_and_soon_elsewhere() {
        let store = Arc::new(OneKey::default());
        let (here, elsewhere) = (known_keys(&store), known_keys(&store));
        assert!(lets_in(&here).await && lets_in(&elsewhere).await);
        tokio::time::advance(KEY_TRUST / 2).await;
        store.revoke();
        here.forget(&digest("good"));
        assert!(!lets_in(&here).await);
        assert!(lets_in(&elsewhere).await, "it has not been asked for long enough");
        assert!(elsewhere.trusted_for(&digest("good")) <= KEY_TRUST / 2);
        tokio::time::advance(KEY_TRUST / 2).await;
        assert!(!lets_in(&elsewhere).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_outlives_the_trust_in_a_key_is_refused_everywhere_at_once() {
        let store = Arc::new(OneKey::default());
        let elsewhere = known_keys(&store);
        assert!(lets_in(&elsewhere).await);
        store.revoke();
        assert!(elsewhere.confirm(digest("good")).await.unwrap().is_none());
        // And this replica has learned of it.
        assert!(!lets_in(&elsewhere).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_lets_no_revoked_key_live_longer_than_is_said() {
        let store = Arc::new(OneKey::default());
        let (here, elsewhere) = (known_keys(&store), known_keys(&store));
        assert!(lets_in(&here).await && lets_in(&elsewhere).await);
        store.revoke();
        store.fails.set(|| StoreError::Unavailable("gone".into())).unwrap();
        let began = Instant::now();
        while began.elapsed() + 2 * MOMENT < KEY_KEPT {
            assert!(lets_in(&elsewhere).await, "after {:?}", began.elapsed());
            tokio::time::advance(Duration::from_secs(1).min(KEY_KEPT - began.elapsed() - MOMENT))
                .await;
        }
        tokio::time::advance(MOMENT).await;
        assert!(elsewhere.find(digest("good")).await.is_err());
        // Where it was revoked, the outage changes nothing.
        here.forget(&digest("good"));
        assert!(!lets_in(&here).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_under_way_does_not_bring_a_revoked_key_back() {
        let store = Arc::new(OneKey::default());
        let keys = known_keys(&store);
        let revoked = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            store.revoke();
            keys.forget(&digest("good"));
        };
        let (found, ()) = tokio::join!(keys.find(digest("good")), revoked);
        assert_eq!((store.asked(), found.unwrap()), (1, None));
        assert!(!lets_in(&keys).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_expires_while_it_is_trusted_and_during_an_outage() {
        for trusted in [true, false] {
            let left = if trusted { KEY_TRUST / 2 } else { KEY_TRUST + KEY_KEPT / 4 };
            let store = Arc::new(OneKey { expires_in: Some(left), ..OneKey::default() });
            let keys = known_keys(&store);
            assert!(lets_in(&keys).await);
            store.fails.set(|| StoreError::Unavailable("gone".into())).unwrap();
            tokio::time::advance(left - 2 * MOMENT).await;
            assert!(lets_in(&keys).await);
            tokio::time::advance(2 * MOMENT).await;
            assert!(!lets_in(&keys).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn noting_the_use_of_a_key_holds_nothing_up() {
        let store = Arc::new(OneKey::default());
        let keys = known_keys(&store);
        // The first note hangs for good in the store, and the others wait for it.
        for _ in 0..5 {
            let asked = Instant::now();
            assert!(lets_in(&keys).await);
            assert!(asked.elapsed() < MOMENT);
            tokio::time::advance(KEY_TRUST).await;
        }
        assert_eq!((store.asked(), store.touched.load(Ordering::Relaxed)), (5, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_is_asked_once_for_a_key_however_many_bring_it() {
        let store = Arc::new(OneKey::default());
        let keys = known_keys(&store);
        for (key, is_known) in [("good", true), ("guess", false)] {
            for found in join_all((0..50).map(|_| keys.find(digest(key)))).await {
                assert_eq!(found.unwrap().is_some(), is_known, "{key}");
            }
            // All permits may have been taken before the first one had its answer.
            let asked = store.asked();
            assert!((1..=KEY_LOOKUPS_MAX).contains(&asked), "{key}: {asked}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_guesses_does_not_keep_a_good_key_waiting() {
        let store = Arc::new(OneKey::default());
        let keys = known_keys(&store);
        keys.find(digest("good")).await.unwrap();
        tokio::time::advance(KEY_TRUST).await;
        let guesses: Vec<_> = (0..1_000).map(|guess| format!("guess-{guess}")).collect();
        let flood = join_all(guesses.iter().map(|guess| keys.find(digest(guess))));
        let good = async {
            tokio::task::yield_now().await;
            let asked = Instant::now();
            assert!(keys.find(digest("good")).await.unwrap().is_some());
            asked.elapsed()
        };
        let (refused, waited) = tokio::join!(flood, good);
        assert!(waited < KEY_TURN_MAX / 2, "{waited:?}");
        let (unauthenticated, unavailable): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(Result::is_ok);
        assert!(
            !unauthenticated.is_empty() && !unavailable.is_empty(),
            "{} and {}",
            unauthenticated.len(),
            unavailable.len()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_good_outlives_an_outage_of_the_store_but_not_its_end() {
        let errors: [(fn() -> StoreError, bool); 4] = [
            (|| StoreError::Unavailable("gone".into()), true),
            (|| StoreError::TooSlow("too slow".into()), true),
            (|| StoreError::Locked("locked".into()), true),
            (|| StoreError::Corrupt("no such column".into()), false),
        ];
        for (error, passes) in errors {
            let store = Arc::new(OneKey::default());
            let keys = known_keys(&store);
            keys.find(digest("good")).await.unwrap();
            store.fails.set(error).unwrap();
            tokio::time::advance(KEY_TRUST).await;
            let found = keys.find(digest("good")).await;
            assert_eq!(found.is_ok_and(|found| found.is_some()), passes, "{}", error());
            assert!(keys.find(digest("guess")).await.is_err());
            assert_eq!(store.asked(), 3);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_holds_up_a_key_that_was_good_no_longer_than_a_second() {
        let store = Arc::new(OneKey::default());
        let keys = known_keys(&store);
        keys.find(digest("good")).await.unwrap();
        store.hangs.store(true, Ordering::Relaxed);
        tokio::time::advance(KEY_TRUST).await;
        let asked = Instant::now();
        assert!(keys.find(digest("good")).await.unwrap().is_some());
        assert_eq!(asked.elapsed().as_secs(), KEY_RENEWAL_MAX.as_secs());
    }
}
