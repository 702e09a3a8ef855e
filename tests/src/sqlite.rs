//! A SQLite file of its own for each test.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt as _;
use skein_shared::domain::event_logs::EventLogSink;
use skein_shared::store::sqlite::SqliteStore;
use skein_shared::store::{Admin, Store};

/// Runs a case over a database of its own and removes that, whether the case passes or not.
///
/// # Panics
/// When the case does, or when the directory for temporary files cannot be written.
pub async fn with_store<F, Fut>(case: F)
where
    F: FnOnce(Arc<dyn Store>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    with_telling_store(None, case, async |_: &Path| {}).await;
}

/// [`with_store`] for a store that tells of the rows that it writes to the log. `check` is given the file when the case has
/// passed and the store is closed.
///
/// # Panics
/// As [`with_store`].
pub async fn with_telling_store<F, Fut>(
    event_logs: Option<Arc<dyn EventLogSink>>,
    case: F,
    check: impl AsyncFnOnce(&Path),
) where
    F: FnOnce(Arc<dyn Store>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let directory = new_directory();
    let path = directory.join("skein.db");
    let store = SqliteStore::open_telling(path.to_str().expect("a path in UTF-8"), event_logs)
        .await
        .expect("a directory for temporary files");
    // A task of its own, so that a panic comes back as a value.
    let outcome = tokio::spawn(case(Arc::new(store.clone()))).await;
    store.close().await;
    let outcome = match outcome {
        Ok(()) => AssertUnwindSafe(check(&path)).catch_unwind().await,
        Err(failed) => Err(failed.into_panic()),
    };
    std::fs::remove_dir_all(&directory).expect("a directory for temporary files");
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A name in the directory for temporary files that nobody else uses; the store creates it.
fn new_directory() -> PathBuf {
    std::env::temp_dir().join(format!("skein_test_{}", uuid::Uuid::new_v4().simple()))
}
