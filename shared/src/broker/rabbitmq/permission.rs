//! Telling of a permission that is missing for what a process can do without, so that nobody would notice.

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};

/// The state of a subscription through a nameless queue of a process's own, which RabbitMQ calls `amq.gen-…`: its user
/// may be allowed the names of Skein alone. It is tried again all the same, as permissions may change.
#[derive(Debug)]
pub(super) struct OwnQueue {
    /// What does not come without it.
    what: &'static str,
    is_told: bool,
}

impl OwnQueue {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, is_told: false }
    }

    /// It was not to be had. Says so when the user may not, once for as long as that lasts.
    pub(super) fn failed(&mut self, error: &lapin::Error) {
        if self.is_news(is_refused(error)) {
            let what = self.what;
            tracing::warn!(
                what,
                %error,
                "a queue of this process's own is refused: `skein doctor` says which permission RabbitMQ's user lacks"
            );
        }
    }

    /// It is there.
    pub(super) fn succeeded(&mut self) {
        self.is_told = false;
    }

    fn is_news(&mut self, is_refused: bool) -> bool {
        let is_news = is_refused && !self.is_told;
        self.is_told |= is_refused;
        is_news
    }
}

/// Whether the broker says that the user may not.
fn is_refused(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED))
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    #[test]
    fn what_the_user_may_not_is_told_from_what_is_not_there() {
        let error = |soft: AMQPSoftError| {
            let error = AMQPError::new(AMQPErrorKind::Soft(soft), "no".into());
            lapin::Error::from(ErrorKind::ProtocolError(error))
        };
        assert!(is_refused(&error(AMQPSoftError::ACCESSREFUSED)));
        assert!(!is_refused(&error(AMQPSoftError::NOTFOUND)));
        assert!(!is_refused(&std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
    }

    #[test]
    fn a_refusal_is_told_once_until_it_is_over() {
        let mut queue = OwnQueue::new("live events");
        assert!(!queue.is_news(false), "the connection is gone, which others say");
        assert!(queue.is_news(true));
        assert!(!queue.is_news(true) && !queue.is_news(false) && !queue.is_news(true));
        queue.succeeded();
        assert!(queue.is_news(true));
    }
}
