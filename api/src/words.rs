//! Closed sets of words as schemas with names of their own.

use skein_shared::domain::analysis::phases::AttemptEnd;
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::domain::{budget, key_scopes, step, worker_status};
use skein_shared::store::spending;
use skein_shared::workflow::params::log::Level;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// Schemas, each with what the words are of. They have no values: what is shown are the words themselves.
macro_rules! word_schemas {
    ($($(#[doc = $about:literal])* $name:ident = $words:expr;)*) => {
        $(
            $(#[doc = $about])*
            pub(crate) enum $name {}

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    let words = ObjectBuilder::new().schema_type(Type::String);
                    let words = words.enum_values(Some($words.iter().copied()));
                    words.description(Some(concat!($($about),*).trim())).build().into()
                }
            }

            impl ToSchema for $name {}
        )*
    };
}

word_schemas! {
    /// Where a run is in its life.
    RunStatus = RunState::WORDS;
    /// Where a node of a run is in its life.
    NodeStatus = NodeState::WORDS;
    /// How an attempt ended that did not end its node.
    AttemptOutcome = AttemptEnd::WORDS;
    /// What a key may do; `admin` includes all others.
    KeyScope = key_scopes::KeyScope::WORDS;
    /// How important a row of a log is.
    LogLevel = Level::WORDS;
    /// What a step does.
    StepKind = step::StepKind::WORDS;
    /// Where a step is in its life: `refused` is to be called again, `lost` ended with its attempt before there was a result, `pending` waits for a decision.
    StepStatus = step::StepStatus::WORDS;
    /// Whether a worker lives.
    WorkerStatus = worker_status::WorkerStatus::WORDS;
    /// What storing a document did: `created` a version or a draft, `promoted` a draft to the latest version, or left all as it was, `unchanged`.
    PublishOutcome = ["created", "promoted", "unchanged"];
    /// What costs are summed up by.
    CostGrouping = spending::CostGrouping::WORDS;
    /// What becomes of a node whose next call a budget does not allow.
    OnExhausted = budget::OnExhausted::WORDS;
    /// The time that a budget is for, in UTC.
    BudgetPeriod = ["day", "month"];
}

/// What a key is to be allowed to do: one scope or several, each once.
pub(crate) enum KeyScopes {}

impl PartialSchema for KeyScopes {
    fn schema() -> RefOr<Schema> {
        let scopes = ArrayBuilder::new().items(Ref::from_schema_name(KeyScope::name()));
        let scopes = scopes.min_items(Some(1)).unique_items(true);
        scopes.description(Some("What a key may do: one scope or several, each once.")).into()
    }
}

impl ToSchema for KeyScopes {}
