//! Workflows and their versions.

use std::sync::Arc;

use skein_shared::domain::ids::VersionId;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::workflows::{NewVersion, Published};
use skein_shared::store::{PageRequest, Store};
use tokio::sync::Barrier;

use super::world::version;

fn ann() -> Identity {
    Identity::new("acme", "main", "ann")
}

fn page(limit: u32, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
}

/// What publishing a version that no draft has become answers.
fn answered(id: VersionId, version: u32, created: bool) -> Published {
    Published { id, version, created, promoted: false, draft: false, archived: false }
}

/// A changed document is a version more; an unchanged one is no news.
pub async fn publishing_adds_a_version_only_when_there_is_news(store: Arc<dyn Store>) {
    let (one, two) = (version("digest", r#"{"v": 1}"#), version("digest", r#"{"v": 2}"#));
    let publish = |version: &NewVersion| {
        let (store, version) = (Arc::clone(&store), version.clone());
        async move { store.publish_workflow(&ann(), &version).await.unwrap() }
    };
    assert_eq!(publish(&one).await, answered(one.id, 1, true));
    let same = NewVersion { id: VersionId::generate(), ..one.clone() };
    assert_eq!(publish(&same).await, answered(one.id, 1, false));
    assert_eq!(publish(&two).await, answered(two.id, 2, true));
    // Going back to an older document is news.
    let back = NewVersion { id: VersionId::generate(), ..one.clone() };
    assert_eq!(publish(&back).await, answered(back.id, 3, true));
    let latest = store.find_workflow(&ann(), "digest", None).await.unwrap().unwrap();
    assert_eq!((latest.id, latest.version, &*latest.created_by), (back.id, 3, "ann"));
    let first = store.find_workflow(&ann(), "digest", Some(1)).await.unwrap().unwrap();
    assert_eq!((first.id, &first.document), (one.id, &one.document));
    assert_eq!((first.node_count, first.edge_count, first.description), (3, 2, None));
    for version in [0, 4, u32::MAX] {
        assert_eq!(store.find_workflow(&ann(), "digest", Some(version)).await.unwrap(), None);
    }
    assert_eq!(store.find_workflow(&ann(), "nothing", None).await.unwrap(), None);
}

/// Eight people publish at once: eight versions, no number twice, and the latest is the last number.
pub async fn concurrent_publishers_get_consecutive_numbers(store: Arc<dyn Store>) {
    const PUBLISHERS: u32 = 8;
    for round in 0..5 {
        let barrier = Arc::new(Barrier::new(PUBLISHERS as usize));
        let mut publishers = tokio::task::JoinSet::new();
        for publisher in 0..PUBLISHERS {
            let (store, barrier) = (Arc::clone(&store), Arc::clone(&barrier));
            publishers.spawn(async move {
                let document = format!("[{round}, {publisher}]");
                let version = version(&format!("w{round}"), &document);
                barrier.wait().await;
                store.publish_workflow(&ann(), &version).await.unwrap()
            });
        }
        let mut published = publishers.join_all().await;
        published.sort_by_key(|published| published.version);
        let numbers: Vec<_> = published.iter().map(|published| published.version).collect();
        assert_eq!(numbers, (1..=PUBLISHERS).collect::<Vec<_>>());
        assert!(published.iter().all(|published| published.created));
        let name = format!("w{round}");
        let latest = store.find_workflow(&ann(), &name, None).await.unwrap().unwrap();
        assert_eq!(Some(latest.id), published.last().map(|published| published.id));
    }
}

/// Listings come page by page, each row once: workflows by name, versions newest first.
pub async fn listings_are_paged(store: Arc<dyn Store>) {
    let names = ["alpha", "beta", "delta", "eta", "gamma"];
    for name in names.iter().rev() {
        for v in 0..3 {
            let described = Some(format!("{name} {v}"));
            let version = NewVersion { description: described, ..version(name, &format!("[{v}]")) };
            store.publish_workflow(&ann(), &version).await.unwrap();
        }
    }
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let read = store.list_workflows(&ann(), &page(2, cursor)).await.unwrap();
        assert!(read.items.len() <= 2);
        for item in read.items {
            assert_eq!(
                (item.version, item.description),
                (Some(3), Some(format!("{} 2", item.name)))
            );
            assert!(item.created_at <= item.updated_at);
            found.push(item.name);
        }
        cursor = read.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, names);
    let first = store.list_versions(&ann(), "beta", &page(2, None)).await.unwrap();
    let second = store.list_versions(&ann(), "beta", &page(2, first.next_cursor)).await.unwrap();
    let numbers: Vec<_> = first.items.iter().chain(&second.items).map(|v| v.version).collect();
    assert_eq!((numbers, second.next_cursor), (vec![3, 2, 1], None));
    // A page that is exactly full has no next one.
    assert_eq!(
        store.list_versions(&ann(), "beta", &page(3, None)).await.unwrap().next_cursor,
        None
    );
    let none = store.list_versions(&ann(), "nothing", &page(3, None)).await.unwrap();
    assert_eq!((none.items.len(), none.next_cursor), (0, None));
}

/// A document comes back byte by byte: its digest was taken from exactly this text.
pub async fn a_document_is_kept_byte_by_byte(store: Arc<dyn Store>) {
    let text = r#"{"b" : 1, "a":1.50, "a":[ ], "ü":"\u0000 \ud83d\ude00 😀", "n":123456789012345678901234567890}"#;
    let version = version("exact", text);
    store.publish_workflow(&ann(), &version).await.unwrap();
    assert_eq!(store.load_document(version.id).await.unwrap().as_deref(), Some(text));
    let found = store.find_workflow(&ann(), "exact", None).await.unwrap().unwrap();
    assert_eq!(found.document, text);
    assert_eq!(store.load_document(VersionId::generate()).await.unwrap(), None);
}

/// Many processes start at once and all bring the schema up to date.
pub async fn migrating_again_changes_nothing(store: Arc<dyn Store>) {
    store.publish_workflow(&ann(), &version("digest", "{}")).await.unwrap();
    let (one, two) = tokio::join!(store.migrate(), store.migrate());
    one.unwrap();
    two.unwrap();
    store.ping().await.unwrap();
    assert!(store.find_workflow(&ann(), "digest", None).await.unwrap().is_some());
}
