//! The methods that a workflow may send, and what each of them means to whoever sends it twice.

use crate::domain::kind::Effect;
use crate::domain::words::words;

words!(
    /// A method of RFC 9110 or RFC 5789. CONNECT and TRACE are no business of a workflow.
    #[derive(Default)]
    "method" Method {
        /// Reads.
        #[default]
        Get = "GET",
        /// Does whatever the server makes of it.
        Post = "POST",
        /// Replaces.
        Put = "PUT",
        /// Changes a part.
        Patch = "PATCH",
        /// Deletes.
        Delete = "DELETE",
        /// Reads the head only.
        Head = "HEAD",
        /// Asks what could be sent.
        Options = "OPTIONS",
    }
);

impl Method {
    /// Whether sending it twice does the same as sending it once: RFC 9110, section 9.2.2.
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Patch)
    }

    /// Whether a request has a body.
    #[must_use]
    pub fn has_body(self) -> bool {
        !matches!(self, Self::Get | Self::Head | Self::Options)
    }

    /// What sending the request twice would do. A key goes with all that is not idempotent, unless the workflow does
    /// without.
    pub(in crate::workflow) fn effect(self, idempotency_key: Option<bool>) -> Effect {
        match idempotency_key {
            _ if self.is_idempotent() => Effect::Idempotent,
            None | Some(true) => Effect::Keyed,
            Some(false) => Effect::Unsafe,
        }
    }
}
