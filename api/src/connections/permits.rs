//! Permits for connections: how many there are, whose they are, and which of them makes way for a new one.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a connection may at least be idle before it makes way, where others are reserved: the request of a client
/// that has just connected is on its way.
const IDLE_GRACE: Duration = Duration::from_millis(250);

/// Idle connections looked at to find one that makes way.
const VICTIMS_MAX: usize = 64;

/// What a connection that nothing is being done for waits for. Those that make way first come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Idle {
    /// Its first byte: nobody has asked for anything.
    Silent,
    /// The rest of a request's headers.
    Head,
    /// The next request. Clients expect a kept connection to be closed at times, and ask again.
    Kept,
}

/// Where connections come from, as far as they are distinguished: an address, or the network of one household or
/// machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Peer(IpAddr);

impl Peer {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                const NETWORK: u128 = !0 << 64;
                Self(Ipv6Addr::from_bits(address.to_bits() & NETWORK).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// A number of permits. An address may have no more of them than are still free, or than it makes free.
#[derive(Debug)]
pub(super) struct Permits {
    max: usize,
    grace: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, Open>,
    peers: HashMap<Peer, PeerConnections>,
    /// The oldest of each kind first.
    idle: BTreeSet<(Idle, u64)>,
}

#[derive(Debug)]
struct Open {
    peer: Peer,
    idle: Option<Idle>,
    idle_since: Instant,
    evicted: CancellationToken,
}

/// What one peer has.
#[derive(Debug, Default)]
struct PeerConnections {
    open: usize,
    idle: BTreeSet<(Idle, u64)>,
}

/// The permit of one connection. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Arc<Permits>,
    id: u64,
    evicted: CancellationToken,
}

impl Permits {
    /// Permits beside which there are reserved ones.
    pub(super) fn regular(max: usize) -> Arc<Self> {
        Arc::new(Self { max, grace: IDLE_GRACE, state: Mutex::default() })
    }

    /// The reserved ones, of which nothing is held back.
    pub(super) fn reserved(max: usize) -> Arc<Self> {
        Arc::new(Self { max, grace: Duration::ZERO, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A permit for a connection from this address, which is silent as yet. Another one may have to make way: an idle
    /// one from the same address, or from one that has more of them.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        let peer = Peer::of(address);
        let mut state = self.lock();
        let held = state.peers.get(&peer).map_or(0, |held| held.open);
        if held >= self.max.saturating_sub(state.open.len()) {
            let victim = state.victim(&peer, held, self.grace)?;
            state.evict(victim);
        }
        let (id, evicted) = (state.next, CancellationToken::new());
        state.next += 1;
        let idle_since = Instant::now();
        state.open.insert(id, Open { peer, idle: None, idle_since, evicted: evicted.clone() });
        state.peers.entry(peer).or_default().open += 1;
        state.set_idle(id, Some(Idle::Silent));
        Some(Permit { permits: Arc::clone(self), id, evicted })
    }

    /// Lets the connection that is least of a loss make way, whoever needs its descriptor.
    pub(super) fn evict_one(&self) {
        let mut state = self.lock();
        if let Some((_, id)) = state.idle.first().copied() {
            state.evict(id);
        }
    }
}

impl State {
    fn victim(&self, peer: &Peer, held: usize, grace: Duration) -> Option<u64> {
        let has_been = |id: &u64| self.open.get(id).filter(|it| it.idle_since.elapsed() >= grace);
        let has_more = |id: &u64| {
            let peer = has_been(id).map(|open| open.peer);
            peer.and_then(|peer| self.peers.get(&peer)).is_some_and(|other| other.open > held)
        };
        let own = self.peers.get(peer).map(|held| held.idle.iter().take(VICTIMS_MAX));
        let own = own.into_iter().flatten().find(|(_, id)| has_been(id).is_some());
        let others = || self.idle.iter().take(VICTIMS_MAX).find(|(_, id)| has_more(id));
        own.or_else(others).map(|(_, id)| *id)
    }

    fn evict(&mut self, id: u64) {
        if let Some(open) = self.close(id) {
            open.evicted.cancel();
        }
    }

    fn close(&mut self, id: u64) -> Option<Open> {
        self.set_idle(id, None);
        let open = self.open.remove(&id)?;
        if let Some(held) = self.peers.get_mut(&open.peer) {
            held.open -= 1;
            if held.open == 0 {
                self.peers.remove(&open.peer);
            }
        }
        Some(open)
    }

    fn set_idle(&mut self, id: u64, idle: Option<Idle>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let before = std::mem::replace(&mut open.idle, idle);
        open.idle_since = Instant::now();
        let Some(held) = self.peers.get_mut(&open.peer) else { return };
        if let Some(before) = before {
            held.idle.remove(&(before, id));
            self.idle.remove(&(before, id));
        }
        if let Some(idle) = idle {
            held.idle.insert((idle, id));
            self.idle.insert((idle, id));
        }
    }
}

impl Permit {
    /// Says what the connection waits for; `None` while a request is being served, which nobody interrupts.
    pub(super) fn set_idle(&self, idle: Option<Idle>) {
        self.permits.lock().set_idle(self.id, idle);
    }

    /// Cancelled when the connection has to make way. Its permit is another's by then.
    pub(super) fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.lock().close(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn fill(
        permits: &Arc<Permits>,
        address: IpAddr,
        idle: Option<Idle>,
        count: usize,
    ) -> Vec<Permit> {
        let take = |_| {
            let permit = permits.take(address).unwrap();
            permit.set_idle(idle);
            permit
        };
        (0..count).map(take).collect()
    }

    fn evicted(permits: &[Permit]) -> Vec<usize> {
        let gone = permits.iter().enumerate().filter(|(_, permit)| permit.evicted().is_cancelled());
        gone.map(|(at, _)| at).collect()
    }

    #[test]
    fn an_address_gets_a_fair_part_and_makes_way_for_itself_alone() {
        let permits = Permits::reserved(8);
        let busy = fill(&permits, ADA, None, 4);
        assert!(permits.take(ADA).is_none());
        let bob = fill(&permits, BOB, Some(Idle::Silent), 2);
        let more = fill(&permits, BOB, Some(Idle::Silent), 5);
        assert_eq!((evicted(&busy), evicted(&bob)), (vec![], vec![0, 1]));
        drop((busy, bob, more));
        assert!(permits.lock().open.is_empty() && permits.lock().peers.is_empty());
    }

    #[test]
    fn those_that_never_said_anything_make_way_first_and_the_oldest_of_them() {
        let permits = Permits::reserved(10);
        let kept = fill(&permits, ADA, Some(Idle::Kept), 2);
        let head = fill(&permits, ADA, Some(Idle::Head), 1);
        let silent = fill(&permits, ADA, Some(Idle::Silent), 2);
        let _more = fill(&permits, ADA, None, 4);
        assert_eq!(
            (evicted(&silent), evicted(&head), evicted(&kept)),
            (vec![0, 1], vec![0], vec![0])
        );
    }

    #[test]
    fn who_has_less_takes_the_permit_of_who_has_more() {
        let permits = Permits::reserved(3);
        let address = |last| IpAddr::from([198, 51, 100, last]);
        let ada = fill(&permits, ADA, Some(Idle::Silent), 2);
        let bob = fill(&permits, BOB, None, 1);
        let eve = fill(&permits, address(1), None, 1);
        assert_eq!((evicted(&ada), evicted(&bob)), (vec![0], vec![]));
        // One each, and all that is idle is as small as the newcomer would be.
        let joe = fill(&permits, address(2), None, 1);
        assert_eq!((evicted(&ada), evicted(&eve)), (vec![0, 1], vec![]));
        assert!(permits.take(address(3)).is_none());
        drop(joe);
        assert!(permits.take(address(3)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_connected_is_given_the_time_to_ask() {
        let permits = Permits::regular(2);
        let ada = fill(&permits, ADA, Some(Idle::Silent), 1);
        assert!(permits.take(ADA).is_none());
        tokio::time::advance(IDLE_GRACE).await;
        assert!(permits.take(ADA).is_some());
        assert_eq!(evicted(&ada), [0]);
    }

    #[test]
    fn a_network_of_the_sixth_version_is_one_peer() {
        let peer = |text: &str| Peer::of(text.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), Peer::of(ADA));
    }
}
