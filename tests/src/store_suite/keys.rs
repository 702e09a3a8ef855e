//! API keys: whom they let in, for how long, and what their organization does with them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures_util::future::join_all;
use skein_shared::domain::key_id::KeyId;
use skein_shared::domain::key_scopes::{KeyScope, KeyScopes};
use skein_shared::domain::limits::{KEYS_OVER_LISTED_MAX, KEYS_PER_ORGANIZATION_MAX};
use skein_shared::domain::tenant::Identity;
use skein_shared::store::keys::{
    Ensured, KeyCreation, KeyDigest, KeyExpiry, KeyFilter, NewKey, Revocation, StoredKey,
};
use skein_shared::store::{PageRequest, Store, StoreError};
use tokio::sync::Barrier;

const PAGE: PageRequest = PageRequest { limit: 500, cursor: None };

fn ann() -> Identity {
    Identity::new("acme", "main", "ann")
}

/// Digests that share no beginning.
fn digest(number: u32) -> KeyDigest {
    let mut digest = [0x5a; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    digest
}

/// A key of Ann's that only reads.
fn reader(number: u32) -> NewKey {
    NewKey {
        digest: digest(number),
        identity: ann(),
        scopes: KeyScopes::NONE.with(KeyScope::Read),
        name: format!("reader {number}"),
        expiry: None,
        ends_with: None,
        created_by: "ann".into(),
    }
}

fn admin(number: u32) -> NewKey {
    NewKey { scopes: KeyScopes::all(), ..reader(number) }
}

async fn create(store: &Arc<dyn Store>, key: &NewKey) -> StoredKey {
    match store.create_key(key).await.unwrap() {
        KeyCreation::Created(stored) => stored,
        refused => panic!("{refused:?}"),
    }
}

async fn identity_of(store: &Arc<dyn Store>, key: &KeyDigest) -> Option<Identity> {
    store.find_key(key).await.unwrap().map(|key| key.identity)
}

async fn is_good(store: &Arc<dyn Store>, number: u32) -> bool {
    store.find_key(&digest(number)).await.unwrap().is_some()
}

/// All keys of an organization.
async fn listed(store: &Arc<dyn Store>, tenant: &Identity, filter: &KeyFilter) -> Vec<StoredKey> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest { cursor, ..PAGE };
        let page = store.list_keys(tenant, filter, &page).await.unwrap();
        found.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

async fn revoke(store: &Arc<dyn Store>, number: u32) -> Option<Revocation> {
    store.revoke_key(&ann(), KeyId::of(&digest(number))).await.unwrap()
}

/// A key stands for what it was first bound to. Its user may change, nothing else, whoever asks and however often.
pub async fn a_key_never_moves_to_another_tenant(store: Arc<dyn Store>) {
    let (key, other) = ([7; 32], [8; 32]);
    assert_eq!(store.find_key(&key).await.unwrap(), None);
    let named = |organization: &str, workspace: &str, user: &str| {
        Identity::new(organization, workspace, user)
    };
    let bob = named(&ann().organization, &ann().workspace, "bob");
    for identity in [ann(), ann(), bob.clone()] {
        assert_eq!(store.ensure_key(&key, &identity).await.unwrap(), Ensured::Good);
        assert_eq!(identity_of(&store, &key).await, Some(identity));
    }
    let moves =
        [named("other", &ann().workspace, "bob"), named(&ann().organization, "other", "bob")];
    for elsewhere in moves {
        let refused = store.ensure_key(&key, &elsewhere).await;
        assert!(matches!(refused, Err(StoreError::Setup(_))), "{refused:?}");
        assert_eq!(identity_of(&store, &key).await, Some(bob.clone()));
    }
    assert_eq!(store.find_key(&other).await.unwrap(), None);
}

/// What is asked for is what is listed and what lets in; making it again finds it, and another organization cannot have
/// it.
pub async fn a_key_is_made_once_and_found(store: Arc<dyn Store>) {
    let wanted = reader(1);
    let made = create(&store, &wanted).await;
    assert_eq!(made.id, KeyId::of(&wanted.digest));
    assert_eq!((made.identity.clone(), made.scopes), (ann(), wanted.scopes));
    assert_eq!((made.name.as_deref(), made.created_by.as_deref()), (Some("reader 1"), Some("ann")));
    assert_eq!((made.expires_at, made.revoked_at, made.last_used_at), (None, None, None));
    let again = NewKey { name: "another name".into(), scopes: KeyScopes::all(), ..wanted.clone() };
    assert_eq!(create(&store, &again).await, made, "a repetition changes nothing");
    let found = store.find_key(&wanted.digest).await.unwrap().unwrap();
    assert_eq!((found.identity, found.scopes), (ann(), wanted.scopes));
    assert_eq!((found.name.as_deref(), found.expires_in), (Some("reader 1"), None));
    assert_eq!(listed(&store, &ann(), &KeyFilter::default()).await, [made]);

    let theirs = NewKey { identity: Identity::new("other", "main", "eve"), ..wanted.clone() };
    assert!(matches!(store.create_key(&theirs).await, Err(StoreError::Setup(_))));
    assert_eq!(identity_of(&store, &wanted.digest).await, Some(ann()));
}

/// A key that a program makes may do everything, and has neither name nor maker.
pub async fn an_ensured_key_has_all_scopes(store: Arc<dyn Store>) {
    store.ensure_key(&digest(1), &ann()).await.unwrap();
    assert_eq!(store.find_key(&digest(1)).await.unwrap().unwrap().scopes, KeyScopes::all());
    let keys = listed(&store, &ann(), &KeyFilter::default()).await;
    assert_eq!((keys[0].name.as_deref(), keys[0].created_by.as_deref()), (None, None));
    // One that was made with less keeps to that.
    create(&store, &reader(2)).await;
    store.ensure_key(&digest(2), &ann()).await.unwrap();
    assert_eq!(store.find_key(&digest(2)).await.unwrap().unwrap().scopes, reader(2).scopes);
}

/// Listings come newest first, page by page, and each key once, though many were made at the same moment.
pub async fn keys_are_listed_in_pages(store: Arc<dyn Store>) {
    let mut made = Vec::new();
    for number in 0..7 {
        made.push(create(&store, &reader(number)).await);
    }
    made.sort_by_key(|key| std::cmp::Reverse((key.created_at, key.id.first_digest())));
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest { limit: 3, cursor };
        let page = store.list_keys(&ann(), &KeyFilter::default(), &page).await.unwrap();
        assert!(page.items.len() <= 3);
        found.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, made);
}

/// An organization sees its own keys, in all its workspaces, and revokes no others.
pub async fn keys_are_their_organizations(store: Arc<dyn Store>) {
    let bob = Identity::new("acme", "lab", "bob");
    let eve = Identity::new("other", "main", "ann");
    create(&store, &reader(1)).await;
    create(&store, &NewKey { identity: bob.clone(), ..reader(2) }).await;
    create(&store, &NewKey { identity: eve.clone(), ..reader(3) }).await;
    let numbers = async |tenant: &Identity, workspace: Option<&str>, user: Option<&str>| {
        let filter =
            KeyFilter { workspace: workspace.map(str::to_owned), user: user.map(str::to_owned) };
        let keys = listed(&store, tenant, &filter).await;
        let mut names: Vec<_> = keys.into_iter().filter_map(|key| key.name).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(numbers(&ann(), None, None).await, ["reader 1", "reader 2"]);
    assert_eq!(numbers(&bob, None, None).await, ["reader 1", "reader 2"]);
    assert_eq!(numbers(&ann(), Some("lab"), None).await, ["reader 2"]);
    assert_eq!(numbers(&ann(), None, Some("ann")).await, ["reader 1"]);
    assert!(numbers(&ann(), Some("lab"), Some("ann")).await.is_empty());
    assert_eq!(numbers(&eve, None, None).await, ["reader 3"]);
    for (tenant, number) in [(&eve, 1), (&eve, 2), (&ann(), 3)] {
        let revoked = store.revoke_key(tenant, KeyId::of(&digest(number))).await.unwrap();
        assert_eq!(revoked, None);
        assert!(is_good(&store, number).await);
    }
    assert_eq!(revoke(&store, 2).await, Some(Revocation::Revoked(digest(2))));
}

/// A revoked key lets nobody in, stays listed with the time of the first revocation, and comes back in no way.
pub async fn a_revoked_key_stays_revoked(store: Arc<dyn Store>) {
    store.ensure_key(&digest(0), &ann()).await.unwrap();
    store.ensure_key(&digest(1), &ann()).await.unwrap();
    create(&store, &reader(2)).await;
    for number in [1, 2] {
        assert_eq!(revoke(&store, number).await, Some(Revocation::Revoked(digest(number))));
        assert!(!is_good(&store, number).await);
    }
    let before = listed(&store, &ann(), &KeyFilter::default()).await;
    let revoked = before.iter().filter(|key| key.revoked_at.is_some()).count();
    assert_eq!((before.len(), revoked), (3, 2));
    for number in [1, 2] {
        assert_eq!(revoke(&store, number).await, Some(Revocation::Revoked(digest(number))));
        assert_eq!(store.ensure_key(&digest(number), &ann()).await.unwrap(), Ensured::Over);
        assert!(!is_good(&store, number).await);
    }
    assert!(create(&store, &reader(2)).await.revoked_at.is_some());
    assert_eq!(listed(&store, &ann(), &KeyFilter::default()).await, before);
    assert_eq!(revoke(&store, 9).await, None);
}

/// The last good key that may make others stays; expired and revoked ones, and those of others, do not count.
pub async fn the_last_admin_key_is_not_revoked(store: Arc<dyn Store>) {
    create(&store, &admin(1)).await;
    create(&store, &reader(2)).await;
    create(&store, &admin(3)).await;
    create(&store, &NewKey { identity: Identity::new("other", "main", "eve"), ..admin(4) }).await;
    let brief = Some(KeyExpiry::In(Duration::from_millis(1)));
    let brief = create(&store, &NewKey { expiry: brief, ..admin(5) }).await;
    while brief.expires_at.is_none_or(|at| at > Utc::now()) || is_good(&store, 5).await {
        tokio::task::yield_now().await;
    }
    assert_eq!(revoke(&store, 3).await, Some(Revocation::Revoked(digest(3))));
    assert_eq!(revoke(&store, 1).await, Some(Revocation::LastAdmin));
    assert!(is_good(&store, 1).await);
    assert_eq!(revoke(&store, 2).await, Some(Revocation::Revoked(digest(2))));
    create(&store, &admin(6)).await;
    assert_eq!(revoke(&store, 1).await, Some(Revocation::Revoked(digest(1))));
    assert_eq!(revoke(&store, 1).await, Some(Revocation::Revoked(digest(1))), "it is over already");
}

/// Everybody revokes somebody else's key at once: one that may make others is left.
pub async fn concurrent_revocations_leave_an_admin(store: Arc<dyn Store>) {
    const KEYS: u32 = 6;
    for round in 0..5 {
        let numbers: Vec<_> = (0..KEYS).map(|key| 100 * round + key).collect();
        let tenant = Identity::new(format!("acme-{round}"), "main", "ann");
        for number in &numbers {
            create(&store, &NewKey { identity: tenant.clone(), ..admin(*number) }).await;
        }
        let barrier = Arc::new(Barrier::new(numbers.len()));
        let mut revokers = tokio::task::JoinSet::new();
        for number in numbers.clone() {
            let (store, barrier, tenant) =
                (Arc::clone(&store), Arc::clone(&barrier), tenant.clone());
            revokers.spawn(async move {
                barrier.wait().await;
                let revoked = store.revoke_key(&tenant, KeyId::of(&digest(number))).await;
                revoked.unwrap() == Some(Revocation::LastAdmin)
            });
        }
        let spared = revokers.join_all().await.into_iter().filter(|is_last| *is_last).count();
        let mut good = 0;
        for number in numbers {
            good += usize::from(is_good(&store, number).await);
        }
        assert_eq!((spared, good), (1, 1));
    }
}

/// A key ends by itself, and with its maker's key at the latest; one that would have ended is not made.
pub async fn a_key_expires(store: Arc<dyn Store>) {
    let hour = Duration::from_secs(3600);
    let made = create(&store, &NewKey { expiry: Some(KeyExpiry::In(hour)), ..reader(1) }).await;
    let expires_at = made.expires_at.unwrap();
    let lasts = expires_at - made.created_at;
    assert!((lasts - TimeDelta::hours(1)).abs() < TimeDelta::seconds(1), "{lasts}");
    let left = store.find_key(&digest(1)).await.unwrap().unwrap().expires_in.unwrap();
    assert!(left <= hour && left > hour - Duration::from_secs(60), "{left:?}");

    // Without an expiry of its own, with an earlier one, and with a later one.
    let earlier = expires_at - TimeDelta::minutes(1);
    let later = KeyExpiry::At(expires_at + TimeDelta::minutes(1));
    for (number, expiry, ends_at) in [
        (2, None, expires_at),
        (3, Some(KeyExpiry::At(earlier)), earlier),
        (4, Some(later), expires_at),
    ] {
        let key = NewKey { expiry, ends_with: Some(expires_at), ..reader(number) };
        assert_eq!(create(&store, &key).await.expires_at, Some(ends_at));
    }
    let past = made.created_at - TimeDelta::seconds(1);
    for (expiry, ends_with) in [(Some(KeyExpiry::At(past)), None), (None, Some(past))] {
        let key = NewKey { expiry, ends_with, ..reader(5) };
        assert_eq!(store.create_key(&key).await.unwrap(), KeyCreation::PastExpiry);
    }
    assert!(!is_good(&store, 5).await);

    let brief = Some(KeyExpiry::In(Duration::from_millis(20)));
    create(&store, &NewKey { expiry: brief, ..reader(6) }).await;
    while is_good(&store, 6).await {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.ensure_key(&digest(6), &ann()).await.unwrap(), Ensured::Over);
    let keys = listed(&store, &ann(), &KeyFilter::default()).await;
    assert!(keys.iter().any(|key| key.id == KeyId::of(&digest(6))), "it is still listed");
}

/// One good key of anybody's is enough; what was revoked or has expired lets nobody in.
pub async fn whether_anybody_is_let_in_is_known(store: Arc<dyn Store>) {
    let is_any_good = async || store.has_good_key().await.unwrap();
    assert!(!is_any_good().await);
    create(&store, &reader(1)).await;
    let theirs = NewKey { identity: Identity::new("other", "main", "eve"), ..reader(2) };
    create(&store, &theirs).await;
    revoke(&store, 1).await.unwrap();
    assert!(is_any_good().await, "one organization's is left");
    store.revoke_key(&theirs.identity, KeyId::of(&theirs.digest)).await.unwrap().unwrap();
    assert!(!is_any_good().await);
    let brief = Some(KeyExpiry::In(Duration::from_millis(20)));
    create(&store, &NewKey { expiry: brief, ..reader(3) }).await;
    while is_good(&store, 3).await {
        tokio::task::yield_now().await;
    }
    assert!(!is_any_good().await);
    store.ensure_key(&digest(4), &ann()).await.unwrap();
    assert!(is_any_good().await);
}

/// The use of a key is noted, and not again within a minute, whoever notes it.
pub async fn the_use_of_a_key_is_noted_once_a_minute(store: Arc<dyn Store>) {
    create(&store, &reader(1)).await;
    create(&store, &reader(2)).await;
    let used = async || {
        let mut keys = listed(&store, &ann(), &KeyFilter::default()).await;
        keys.sort_by_key(|key| key.id.first_digest());
        keys.into_iter().map(|key| key.last_used_at).collect::<Vec<_>>()
    };
    assert_eq!(used().await, [None, None]);
    store.touch_keys(&[digest(1), digest(9)]).await.unwrap();
    let noted = used().await;
    assert!(noted[0].is_some() && noted[1].is_none(), "{noted:?}");
    store.touch_keys(&[digest(2), digest(1)]).await.unwrap();
    let now = used().await;
    assert_eq!(now[0], noted[0]);
    assert!(now[1] >= noted[0], "{now:?}");
    store.touch_keys(&[]).await.unwrap();
    assert_eq!(used().await, now);
}

/// An organization has so many good keys and no more, and of those that are over the last ones. What a program has made
/// is never forgotten: its revocation would be.
pub async fn an_organization_has_a_limited_number_of_keys(store: Arc<dyn Store>) {
    create(&store, &admin(0)).await;
    store.ensure_key(&digest(1), &ann()).await.unwrap();
    revoke(&store, 1).await;
    let first_over = 10;
    create(&store, &reader(first_over)).await;
    revoke(&store, first_over).await;
    let first_good = first_over + KEYS_OVER_LISTED_MAX;
    join_all((first_over + 1..first_good).map(async |number| {
        create(&store, &reader(number)).await;
        revoke(&store, number).await;
    }))
    .await;
    let good = first_good..first_good + KEYS_PER_ORGANIZATION_MAX - 1;
    join_all(good.map(async |number| drop(create(&store, &reader(number)).await))).await;
    let one_more = reader(first_good + KEYS_PER_ORGANIZATION_MAX);
    assert_eq!(store.create_key(&one_more).await.unwrap(), KeyCreation::TooMany);
    // A repetition makes none, and others have keys of their own.
    create(&store, &reader(first_good)).await;
    create(&store, &NewKey { identity: Identity::new("other", "main", "eve"), ..reader(2) }).await;

    let of_all = KEYS_PER_ORGANIZATION_MAX + KEYS_OVER_LISTED_MAX + 1;
    assert_eq!(listed(&store, &ann(), &KeyFilter::default()).await.len(), of_all as usize);
    revoke(&store, first_good).await;
    create(&store, &one_more).await;
    let keys = listed(&store, &ann(), &KeyFilter::default()).await;
    assert_eq!(keys.len(), of_all as usize);
    let is_there = |number| keys.iter().any(|key| key.id == KeyId::of(&digest(number)));
    assert!(!is_there(first_over), "the one that ended first has made way");
    assert!(is_there(first_over + 1) && is_there(first_good) && is_there(1));
    assert_eq!(store.ensure_key(&digest(1), &ann()).await.unwrap(), Ensured::Over);
}
