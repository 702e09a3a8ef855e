//! Giving messages back without using them up.
//!
//! Up to 4.2 the broker counts every return of a message, and dead-letters it at the delivery limit: a harmless hint
//! that came to workers which had no slot, could not reach the store or were about to stop. So a message that has come
//! back some times is published anew, which starts its count afresh, and then acknowledged.

use std::sync::Arc;

use lapin::BasicProperties;
use lapin::types::AMQPValue;

use super::publisher::Publisher;
use super::topology::DELIVERY_LIMIT;
use crate::broker::{Headers, Outgoing, Settlement};
use crate::domain::wakeup::Wakeup;

/// Returns of a message before it is published anew. Each return costs one frame and keeps its place in the queue, so
/// not at once; far below the delivery limit, because lost connections count as well, and an operator's policy may
/// have set a lower one (from 4.0 on, others have 20).
const RETURNS_MAX: i64 = 10;
/// The header in which the broker says how often a message has come back. Absent at first.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// How messages of a pool are given back. Clones share the publisher.
#[derive(Clone)]
pub(super) struct Returns {
    pool: Arc<str>,
    publisher: Publisher,
}

/// A message that is to be published anew instead of being returned.
pub(super) struct Republish {
    publisher: Publisher,
    outgoing: Outgoing,
    /// Whether the broker would dead-letter it at the next return.
    is_last: bool,
}

impl Returns {
    pub(super) fn new(pool: &str, publisher: Publisher) -> Self {
        Self { pool: pool.into(), publisher }
    }

    pub(super) fn pool(&self) -> &str {
        &self.pool
    }

    /// The message, if it has come back so often that it is not to be returned any more.
    pub(super) fn anew(
        &self,
        properties: &BasicProperties,
        message: impl FnOnce() -> (Wakeup, Headers),
    ) -> Option<Republish> {
        let returns = returns(properties);
        (returns >= RETURNS_MAX).then(|| {
            let (wakeup, headers) = message();
            Republish {
                publisher: self.publisher.clone(),
                outgoing: Outgoing { pool: self.pool.to_string(), wakeup, headers },
                is_last: returns >= DELIVERY_LIMIT,
            }
        })
    }
}

impl Republish {
    /// Publishes it, and says what is to become of the one that came. A crash in between doubles it.
    pub(super) async fn publish(self) -> Settlement {
        let outcome = self.publisher.publish(std::slice::from_ref(&self.outgoing)).await.pop();
        match outcome {
            Some(Ok(_)) => Settlement::Ack,
            // The row is the truth, and the sweeper repeats the hint: nobody needs a letter about it.
            _ if self.is_last => Settlement::Ack,
            _ => Settlement::Requeue,
        }
    }
}

/// How often the message has come back.
fn returns(properties: &BasicProperties) -> i64 {
    let count =
        properties.headers().as_ref().and_then(|headers| headers.inner().get(DELIVERY_COUNT));
    match count {
        Some(AMQPValue::ShortShortInt(count)) => (*count).into(),
        Some(AMQPValue::ShortShortUInt(count)) => (*count).into(),
        Some(AMQPValue::ShortInt(count)) => (*count).into(),
        Some(AMQPValue::ShortUInt(count)) => (*count).into(),
        Some(AMQPValue::LongInt(count)) => (*count).into(),
        Some(AMQPValue::LongUInt(count)) => (*count).into(),
        Some(AMQPValue::LongLongInt(count)) => *count,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldTable;

    use super::*;

    #[test]
    fn returns_are_read_whatever_the_width_of_the_number() {
        assert_eq!(returns(&BasicProperties::default()), 0);
        for count in
            [AMQPValue::ShortShortUInt(7), AMQPValue::LongInt(7), AMQPValue::LongLongInt(7)]
        {
            let mut headers = FieldTable::default();
            headers.insert(DELIVERY_COUNT.into(), count);
            assert_eq!(returns(&BasicProperties::default().with_headers(headers)), 7);
        }
    }
}
