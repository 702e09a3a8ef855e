//! Identifiers. Newtypes, so that a lease can never be passed where a run is meant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $generate:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh identifier.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::$generate())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// One run of a workflow. Time-ordered (UUIDv7), so that runs list by id newest first.
    RunId,
    now_v7
);
uuid_id!(
    /// One immutable version of a workflow.
    VersionId,
    now_v7
);
uuid_id!(
    /// One life of one worker process. Random (UUIDv4): a sequence could hand out the same fencing
    /// token twice after an asynchronous failover of the database.
    LeaseId,
    new_v4
);

uuid_id!(
    /// One call of the store that changes runs of others. What it did is asked for under this when its reply is lost.
    CallId,
    new_v4
);

uuid_id!(
    /// One life of a process, where one of them does something for all. Random, as a lease's.
    HolderId,
    new_v4
);

/// What distinguishes one skip of a row from others of the same row by the same worker, of which one may repeat a call whose reply
/// was lost. Made anew whenever a skip is decided, kept on the row, shown to nobody.
///
/// Shown as 16 lower-case hex digits that are never all zero. The stores keep it in the column of the attempt's span, for
/// a skipped row has had no attempt. It has no column of its own: rows of earlier versions would still hold it in that
/// one, so whoever reads that has to look at the number of attempts anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkipToken(pub [u8; 8]);

impl SkipToken {
    /// A fresh token.
    #[must_use]
    pub fn generate() -> Self {
        let [token @ .., _, _, _, _, _, _, _, _] = Uuid::new_v4().into_bytes();
        Self(token)
    }
}

impl fmt::Display for SkipToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A node's id within its workflow, as the document spells it.
pub type NodeKey = Arc<str>;

/// The key of the virtual node that joins the static sinks and ends the run.
///
/// No document can claim it: node ids start with a letter.
pub const END_NODE: &str = "__end__";

/// Which repetition of a node is meant: a path of item and iteration indices (`""`, `3`, `3/0`).
pub type Scope = Arc<str>;

/// The scope of a node that no map or loop repeats.
pub const ROOT_SCOPE: &str = "";

/// What the engine schedules: one node of one run in one scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActivationKey {
    /// The run it belongs to.
    pub run: RunId,
    /// The node that is to run.
    pub node: NodeKey,
    /// The repetition of it.
    pub scope: Scope,
}

impl ActivationKey {
    /// The activation of `node` outside of any map or loop.
    #[must_use]
    pub fn root(run: RunId, node: impl Into<NodeKey>) -> Self {
        Self { run, node: node.into(), scope: ROOT_SCOPE.into() }
    }

    /// The key that outside systems may deduplicate by. It names no attempt, so that every attempt
    /// carries the same one.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        format!("{}_{}_{}", self.run, self.node, self.scope)
    }
}

impl fmt::Display for ActivationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.node)?;
        if self.scope.is_empty() { Ok(()) } else { write!(f, "[{}]", self.scope) }
    }
}
