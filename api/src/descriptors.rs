//! The descriptors that the process may have open. Each connection takes one, and so does what answers it.

use crate::limits::{CONNECTIONS_MAX, DESCRIPTORS_RESERVED, RESERVED_CONNECTIONS_MAX};

/// Raises the soft limit as far as the connections need it and the hard limit lets it, and says how many connections
/// there is room for beside everything else. Where the limit is low, half of it is left to the rest.
pub(crate) fn connections_max() -> usize {
    room_within(raise(CONNECTIONS_MAX + RESERVED_CONNECTIONS_MAX + DESCRIPTORS_RESERVED))
}

fn room_within(descriptors: usize) -> usize {
    let beside = RESERVED_CONNECTIONS_MAX + DESCRIPTORS_RESERVED;
    descriptors.saturating_sub(beside).max(descriptors / 2).min(CONNECTIONS_MAX)
}

/// The limit that holds from now on.
#[cfg(unix)]
fn raise(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let soft =
        |limit: Option<u64>| limit.map_or(usize::MAX, |it| it.try_into().unwrap_or(usize::MAX));
    let (now, most) = (soft(limit.current), soft(limit.maximum));
    let target = wanted.min(most);
    if now >= target {
        return now;
    }
    let raised = Rlimit { current: u64::try_from(target).ok(), maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => target,
        Err(error) => {
            tracing::warn!(%error, now, target, "cannot raise the limit of open descriptors");
            now
        }
    }
}

/// Elsewhere nothing is known of a limit.
#[cfg(not(unix))]
fn raise(_wanted: usize) -> usize {
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_left_for_everything_else() {
        assert_eq!(room_within(usize::MAX), CONNECTIONS_MAX);
        for descriptors in [64, 256, 1_024, 4_096] {
            let room = room_within(descriptors);
            assert!((descriptors / 2..descriptors).contains(&room), "{descriptors}: {room}");
        }
        assert!(1_024 - room_within(1_024) >= DESCRIPTORS_RESERVED);
        assert!(connections_max() > 0);
    }
}
