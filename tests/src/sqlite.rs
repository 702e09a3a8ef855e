//! A SQLite file of its own for each test.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

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
    let directory = new_directory();
    let path = directory.join("skein.db");
    let store = SqliteStore::open(path.to_str().expect("a path in UTF-8"))
        .await
        .expect("a directory for temporary files");
    // A task of its own, so that a panic comes back as a value.
    let outcome = tokio::spawn(case(Arc::new(store.clone()))).await;
    store.close().await;
    std::fs::remove_dir_all(&directory).expect("a directory for temporary files");
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed.into_panic());
    }
}

/// A name in the directory for temporary files that nobody else uses; the store creates it.
fn new_directory() -> PathBuf {
    std::env::temp_dir().join(format!("skein_test_{}", uuid::Uuid::new_v4().simple()))
}
