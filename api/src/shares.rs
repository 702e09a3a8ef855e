//! What many share and nobody may take away from the others: permits, bytes.
//!
//! Nobody may hold more than what is still free. So one alone gets half of the whole, two get a third each, and
//! whoever comes next finds as much as each of the others has.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An amount that is shared by holders of the kind `H`.
#[derive(Debug)]
pub(crate) struct Shares<H: Hash + Eq> {
    max: usize,
    state: Mutex<State<H>>,
}

#[derive(Debug)]
struct State<H> {
    total: usize,
    held: HashMap<H, usize>,
}

/// A part that somebody holds. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Taken<H: Hash + Eq> {
    shares: Arc<Shares<H>>,
    holder: H,
    amount: usize,
}

impl<H: Hash + Eq> Shares<H> {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let state = State { total: 0, held: HashMap::new() };
        Arc::new(Self { max, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody could take this much now.
    pub(crate) fn has_room(&self, holder: &H, amount: usize) -> bool {
        self.is_fair(&self.lock(), holder, amount)
    }

    /// Whether somebody has any of it.
    pub(crate) fn is_held_by(&self, holder: &H) -> bool {
        self.lock().held.contains_key(holder)
    }

    fn is_fair(&self, state: &State<H>, holder: &H, amount: usize) -> bool {
        let held = state.held.get(holder).copied().unwrap_or(0);
        held.saturating_add(amount) <= self.max.saturating_sub(state.total)
    }

    fn give_back(&self, holder: &H, amount: usize) {
        let mut state = self.lock();
        state.total -= amount;
        if let Some(held) = state.held.get_mut(holder) {
            *held -= amount;
            if *held == 0 {
                state.held.remove(holder);
            }
        }
    }
}

impl<H: Hash + Eq + Clone> Shares<H> {
    /// Takes this much for somebody, unless that would be more than a fair part.
    pub(crate) fn take(self: &Arc<Self>, holder: &H, amount: usize) -> Option<Taken<H>> {
        let mut state = self.lock();
        if !self.is_fair(&state, holder, amount) {
            return None;
        }
        state.total += amount;
        if amount > 0 {
            *state.held.entry(holder.clone()).or_default() += amount;
        }
        Some(Taken { shares: Arc::clone(self), holder: holder.clone(), amount })
    }
}

impl<H: Hash + Eq + Clone> Taken<H> {
    /// How much it is.
    pub(crate) fn amount(&self) -> usize {
        self.amount
    }

    /// Takes more; `false` if that would be too much, and then nothing has changed.
    #[must_use]
    pub(crate) fn grow(&mut self, amount: usize) -> bool {
        let Some(mut more) = self.shares.take(&self.holder, amount) else { return false };
        self.amount += std::mem::take(&mut more.amount);
        true
    }

    /// Gives back what is more than this.
    pub(crate) fn shrink_to(&mut self, amount: usize) {
        let surplus = self.amount.saturating_sub(amount);
        self.amount -= surplus;
        self.shares.give_back(&self.holder, surplus);
    }
}

impl<H: Hash + Eq> Drop for Taken<H> {
    fn drop(&mut self) {
        self.shares.give_back(&self.holder, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(shares: &Arc<Shares<&'static str>>, holder: &'static str) -> Vec<Taken<&'static str>> {
        std::iter::from_fn(|| shares.take(&holder, 1)).collect()
    }

    #[test]
    fn whoever_comes_next_finds_as_much_as_each_of_the_others_has() {
        let shares = Shares::new(12);
        let ada = fill(&shares, "ada");
        assert_eq!(ada.len(), 6);
        let bob = fill(&shares, "bob");
        assert_eq!(bob.len(), 3);
        drop(ada);
        assert_eq!(fill(&shares, "ada").len(), 5);
        drop(bob);
        assert_eq!(fill(&shares, "eve").len(), 6);
        assert!(shares.lock().held.is_empty());
    }

    #[test]
    fn a_part_grows_and_shrinks_within_what_is_fair() {
        let shares = Shares::new(10);
        let mut part = shares.take(&"ada", 2).unwrap();
        assert!(part.grow(3) && !part.grow(1));
        assert!(shares.has_room(&"bob", 5) && !shares.has_room(&"bob", 6));
        part.shrink_to(1);
        part.shrink_to(4);
        assert!(shares.take(&"bob", 9).is_some());
        drop(part);
        assert_eq!(shares.lock().total, 0);
    }
}
