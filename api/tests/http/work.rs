//! What a worker does to a run, without one: it claims a node and writes its steps.

use std::slice::from_ref;
use std::time::Duration;

use skein_shared::domain::ids::{ActivationKey, LeaseId};
use skein_shared::domain::money::Price;
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::step::{StepKind, StepStatus};
use skein_shared::domain::trace::SpanId;
use skein_shared::domain::usage::Usage;
use skein_shared::store::Store;
use skein_shared::store::engine::{
    Claim, ClaimRequest, Claimed, Commit, CommitFrom, NewLease, RunChange,
};
use skein_shared::store::steps::{
    Charge, Reservation, StepAnswer, StepIntent, StepResult, StepWrite,
};

/// A dollar for a million tokens, of whatever sort.
const PRICE: Price = Price {
    input: 1_000_000_000,
    output: 1_000_000_000,
    cache_read: 1_000_000_000,
    cache_write: 1_000_000_000,
};

/// A node that is claimed.
pub(crate) struct Work<'s> {
    store: &'s dyn Store,
    lease: LeaseId,
    claimed: Box<Claimed>,
}

impl<'s> Work<'s> {
    /// Claims the node `add` of a run.
    pub(crate) async fn begin(store: &'s dyn Store, run: &str) -> Self {
        let lease = NewLease {
            id: LeaseId::generate(),
            host: "test".to_owned(),
            pid: 1,
            version: "0.0.0",
            slots: 4,
            ttl: Duration::from_secs(3600),
        };
        store.open_lease(&lease).await.unwrap();
        let key = ActivationKey::root(run.parse().unwrap(), "add");
        let request = ClaimRequest { key, span: span() };
        match store.claim(lease.id, true, &[request]).await.unwrap().remove(0) {
            Claim::Won(claimed) => Self { store, lease: lease.id, claimed },
            other => panic!("{other:?}"),
        }
    }

    async fn write(&self, finished: Option<StepResult>, begin: Option<StepIntent>) {
        let (key, claim) = (self.claimed.key.clone(), self.claimed.claim);
        let write = StepWrite { key, claim, finished, begin, events: Vec::new() };
        let answers = self.store.write_steps(self.lease, from_ref(&write)).await.unwrap();
        assert!(matches!(answers[0], StepAnswer::Written(_)), "{answers:?}");
    }

    /// Calls a model, which takes so many tokens of input and ten of output.
    pub(crate) async fn call_model(&self, seq: u32, model: &str, input: u64, is_priced: bool) {
        let reservation = Reservation {
            provider: "acme-ai".into(),
            model: model.into(),
            price: is_priced.then_some(PRICE),
            input_tokens: input,
            output_tokens: 10,
        };
        let intent = StepIntent {
            kind: StepKind::Model,
            name: model.into(),
            arguments: None,
            reservation: Some(reservation),
            ..tool(seq, None)
        };
        self.write(None, Some(intent)).await;
        let usage = Usage { input_tokens: input, output_tokens: 10, ..Usage::default() };
        let result = StepResult {
            seq,
            attempt: 1,
            status: StepStatus::Succeeded,
            observation: Some(r#"{"text":"honk"}"#.to_owned()),
            thought: Some("geese honk".to_owned()),
            error: None,
            charge: Charge::Counted(usage),
            price: None,
            response_model: None,
            latency: Duration::from_millis(1_250),
        };
        self.write(Some(result), None).await;
    }

    /// Waits for a decision about the call of a tool.
    pub(crate) async fn ask(self, seq: u32) {
        let within = Duration::from_secs(3600);
        self.write(None, Some(tool(seq, Some(within)))).await;
        let waiting_for = WaitFor::Decision {
            step: seq,
            tool: "search".into(),
            arguments: r#"{"query":"geese"}"#.into(),
            expires_in: within,
        };
        let commit = Commit {
            key: self.claimed.key.clone(),
            from: CommitFrom::Running { claim: self.claimed.claim },
            outcome: AttemptOutcome::Waiting { input: None, waiting_for }.into(),
            rows: Vec::new(),
            tokens: Vec::new(),
            run: RunChange::None,
            events: Vec::new(),
        };
        let committed = self.store.commit(self.lease, &[commit]).await.unwrap().remove(0);
        assert!(committed.flipped, "{committed:?}");
    }
}

fn tool(seq: u32, decision_within: Option<Duration>) -> StepIntent {
    StepIntent {
        seq,
        kind: StepKind::Tool,
        name: "search".into(),
        digest: [7; 32],
        arguments: Some(r#"{"query":"geese"}"#.to_owned()),
        span: span(),
        reservation: None,
        decision_within,
    }
}

fn span() -> SpanId {
    let (high, low) = LeaseId::generate().0.as_u64_pair();
    SpanId((high ^ low).to_be_bytes())
}
