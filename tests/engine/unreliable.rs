//! A broker that does everything which a broker may: it loses, doubles, delays and reorders messages.

use std::sync::{Arc, Mutex};

use skein_shared::broker::Outgoing;

use crate::altered::Altered;

/// Of a hundred messages, how many are lost, come twice, or come later.
const LOST: u8 = 30;
const DOUBLED: u8 = 30;
const DELAYED: u8 = 20;

/// A broker behind a bad line.
pub(crate) fn unreliable(seed: u64) -> Arc<Altered> {
    let line = Line { random: fastrand::Rng::with_seed(seed), delayed: Vec::new() };
    let line = Mutex::new(line);
    Altered::new(move |batch| line.lock().unwrap().garble(batch))
}

struct Line {
    random: fastrand::Rng,
    /// Messages that come with a later batch, if one is ever sent.
    delayed: Vec<Outgoing>,
}

impl Line {
    /// What really arrives when this is sent.
    fn garble(&mut self, batch: &[Outgoing]) -> Vec<Outgoing> {
        let mut arriving = std::mem::take(&mut self.delayed);
        for message in batch {
            if self.random.u8(..100) < LOST {
                continue;
            }
            for _ in 0..=usize::from(self.random.u8(..100) < DOUBLED) {
                if self.random.u8(..100) < DELAYED {
                    self.delayed.push(message.clone());
                } else {
                    arriving.push(message.clone());
                }
            }
        }
        self.random.shuffle(&mut arriving);
        arriving
    }
}
