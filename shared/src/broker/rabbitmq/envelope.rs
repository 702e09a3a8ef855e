//! A batch as AMQP messages.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use super::topology::{PoolNames, Topology};
use crate::broker::{Outgoing, PublishError, message};

/// AMQP's number for a message that is to survive a restart of the broker.
const PERSISTENT: u8 = 2;
/// Who sends: `app_id`.
const APP_ID: &str = concat!("skein/", env!("CARGO_PKG_VERSION"));

/// A batch, encoded: the bodies one after another in one buffer.
pub(super) struct Envelopes {
    bodies: Vec<u8>,
    pub(super) messages: Vec<Envelope>,
    /// The number of the message that belongs to index 0 of the batch.
    first_number: u64,
}

/// One message that can be sent.
pub(super) struct Envelope {
    /// Its index in the batch.
    pub(super) index: usize,
    pub(super) names: Arc<PoolNames>,
    pub(super) properties: BasicProperties,
    body: Range<usize>,
}

impl Envelopes {
    /// Encodes a batch whose messages are numbered from `first_number`. What cannot be sent gets its
    /// outcome right here.
    pub(super) fn encode(
        batch: &[Outgoing],
        topology: &Topology,
        first_number: u64,
        outcomes: &mut [Result<(), PublishError>],
    ) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut bodies = Vec::new();
        let mut messages = Vec::with_capacity(batch.len());
        // Nearly always the same for all.
        let mut pool: Option<(&str, Result<Arc<PoolNames>, String>)> = None;
        for (index, outgoing) in batch.iter().enumerate() {
            let start = bodies.len();
            let names = match &pool {
                Some((name, names)) if *name == outgoing.pool => names.clone(),
                _ => {
                    let names = topology.pool(&outgoing.pool).map_err(|error| error.to_string());
                    let names = names.map(Arc::new);
                    pool = Some((&outgoing.pool, names.clone()));
                    names
                }
            };
            let named = names.and_then(|names| {
                message::encode(outgoing, &mut bodies).map_err(|error| error.to_string())?;
                Ok(names)
            });
            match named {
                Ok(names) => messages.push(Envelope {
                    index,
                    names,
                    properties: properties(
                        outgoing,
                        first_number.wrapping_add(index as u64),
                        now.as_secs(),
                    ),
                    body: start..bodies.len(),
                }),
                Err(reason) => outcomes[index] = Err(PublishError::Refused(reason)),
            }
        }
        Self { bodies, messages, first_number }
    }

    pub(super) fn body(&self, message: &Envelope) -> &[u8] {
        &self.bodies[message.body.clone()]
    }

    /// The message of this batch that a returned one is.
    pub(super) fn find(&self, returned: &BasicProperties) -> Option<&Envelope> {
        let (_, number) = returned.message_id().as_ref()?.as_str().rsplit_once(':')?;
        let index = number.parse::<u64>().ok()?.wrapping_sub(self.first_number);
        let index = usize::try_from(index).ok()?;
        let at = self.messages.binary_search_by_key(&index, |message| message.index).ok()?;
        self.messages.get(at)
    }
}

fn properties(outgoing: &Outgoing, number: u64, now_seconds: u64) -> BasicProperties {
    let mut headers = FieldTable::default();
    message::each_header(outgoing, |name, value| {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    });
    BasicProperties::default()
        .with_message_id(message::id(&outgoing.wakeup.key, number).into())
        .with_type(message::MESSAGE_TYPE.into())
        .with_content_type(message::CONTENT_TYPE.into())
        .with_delivery_mode(PERSISTENT)
        .with_timestamp(now_seconds)
        .with_app_id(APP_ID.into())
        .with_headers(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Headers;
    use crate::domain::ids::{ActivationKey, RunId};
    use crate::domain::limits::NAME_CHARS_MAX;
    use crate::domain::tenant::Identity;
    use crate::domain::wakeup::{WakeReason, Wakeup};

    fn outgoing(node: &str) -> Outgoing {
        Outgoing {
            pool: "default".to_owned(),
            wakeup: Wakeup {
                key: ActivationKey::root(RunId::generate(), node),
                identity: Identity::new("acme", "main", "ann"),
                reason: WakeReason::Start,
                publisher: None,
                state: None,
                queued_at: None,
            },
            headers: Headers::new(),
        }
    }

    #[test]
    fn returned_messages_are_found_by_their_id_whatever_the_order() {
        let wide = "ä".repeat(NAME_CHARS_MAX);
        let batch = [outgoing("a:1"), outgoing(""), outgoing(&wide), outgoing("d")];
        let topology = Topology::new("skein").expect("a legal name");
        let mut outcomes = vec![Ok(()); batch.len()];
        let envelopes = Envelopes::encode(&batch, &topology, u64::MAX - 1, &mut outcomes);
        assert!(matches!(outcomes[1], Err(PublishError::Refused(_))));
        assert_eq!(envelopes.messages.len(), 3);
        for message in envelopes.messages.iter().rev() {
            let found = envelopes.find(&message.properties).expect("it is of this batch");
            assert_eq!(found.index, message.index);
        }
        let other = Envelopes::encode(&batch, &topology, 1_000, &mut outcomes);
        assert!(envelopes.find(&other.messages[0].properties).is_none());
        assert!(envelopes.find(&BasicProperties::default()).is_none());
    }
}
