//! A journal in memory and a model that answers by a script, for tests of nodes that work in steps.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use skein_shared::domain::ids::{ActivationKey, LeaseId};
use skein_shared::domain::money::Price;
use skein_shared::domain::step::{LostStep, StepStatus};
use skein_shared::domain::usage::Usage;
use skein_shared::store::StoreError;
use skein_shared::store::engine::NewEvent;
pub(crate) use skein_shared::store::steps::Begun;
use skein_shared::store::steps::{
    Charge, LostSteps, RateRequest, RecordedStep, Reservation, StepAnswer, StepIntent, StepResult,
    StepStore, StepWrite,
};
use tokio::sync::Notify;

use crate::journal::{Journal, JournalError};
use crate::models::{
    Billing, Call, CallError, ChatModel, ChatReply, ChatRequest, ErrorClass, Message, Provider,
    WireFormat,
};
use crate::nodes::sample_context;

/// A journal in memory. It outlives attempts, as a store does.
#[derive(Default)]
pub(crate) struct FakeJournal {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rows: Vec<Row>,
    events: Vec<NewEvent>,
    /// What the next beginnings are answered with in place of being granted; none for those that are.
    answers: VecDeque<Option<Begun>>,
    /// What budgets say of the next steps before they begin; that there is room when there is nothing.
    rooms: VecDeque<Begun>,
    /// When the next calls may start; at once when there is nothing.
    starts: VecDeque<Option<Duration>>,
    asked_starts: Vec<RateRequest>,
    writes: usize,
    /// After so many writes, nothing is taken any more.
    fenced_after: Option<usize>,
    is_given_back: bool,
}

/// A step, with what its charge is reckoned by.
#[derive(Clone)]
struct Row {
    step: RecordedStep,
    reservation: Option<Reservation>,
    expects_decision: bool,
}

impl FakeJournal {
    /// What the beginnings that follow are answered with; none for one that is granted.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = Option<Begun>>) {
        self.state.lock().unwrap().answers.extend(answers);
    }

    /// What budgets say of the steps that follow before they begin.
    pub(crate) fn say_of_room(&self, rooms: impl IntoIterator<Item = Begun>) {
        self.state.lock().unwrap().rooms.extend(rooms);
    }

    /// When the calls that follow may start.
    pub(crate) fn grant(&self, starts: impl IntoIterator<Item = Option<Duration>>) {
        self.state.lock().unwrap().starts.extend(starts);
    }

    /// Takes nothing after so many further writes: the activation is somebody else's then.
    pub(crate) fn fence_after(&self, writes: usize) {
        let mut state = self.state.lock().unwrap();
        state.fenced_after = Some(state.writes + writes);
    }

    /// Takes everything again.
    pub(crate) fn unfence(&self) {
        self.state.lock().unwrap().fenced_after = None;
    }

    /// Says from now on whether the worker gives the activation back.
    pub(crate) fn give_back(&self, is_given_back: bool) {
        self.state.lock().unwrap().is_given_back = is_given_back;
    }

    /// Writes that were taken.
    pub(crate) fn writes(&self) -> usize {
        self.state.lock().unwrap().writes
    }

    /// All steps, in order of their beginning.
    pub(crate) fn steps(&self) -> Vec<RecordedStep> {
        self.state.lock().unwrap().rows.iter().map(|row| row.step.clone()).collect()
    }

    /// Number, try and status of all steps, in order of their beginning.
    pub(crate) fn statuses(&self) -> Vec<(u32, u32, StepStatus)> {
        self.steps().iter().map(|step| (step.seq, step.attempt, step.status)).collect()
    }

    /// The words of all log rows.
    pub(crate) fn events(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().events.iter().map(|event| event.event).collect()
    }

    /// All that the log rows say.
    pub(crate) fn log_text(&self) -> String {
        format!("{:?}", self.state.lock().unwrap().events)
    }

    /// The calls that have asked for a start.
    pub(crate) fn asked_starts(&self) -> Vec<RateRequest> {
        self.state.lock().unwrap().asked_starts.clone()
    }

    /// Sets how long a step took.
    pub(crate) fn set_latency(&self, seq: u32, latency: Duration) {
        let mut state = self.state.lock().unwrap();
        let row = state.rows.iter_mut().rev().find(|row| row.step.seq == seq);
        row.expect("there is such a step").step.latency = Some(latency);
    }

    /// Sets what a step is, as a decision from outside does.
    pub(crate) fn set_status(&self, seq: u32, status: StepStatus) {
        let mut state = self.state.lock().unwrap();
        let row = state.rows.iter_mut().rev().find(|row| row.step.seq == seq);
        row.expect("there is such a step").step.status = status;
    }
}

impl State {
    fn record(&mut self, result: StepResult) {
        let find =
            |row: &&mut Row| (row.step.seq, row.step.attempt) == (result.seq, result.attempt);
        let row = self.rows.iter_mut().find(find).expect("what is over has begun");
        assert_eq!(row.step.status, StepStatus::Started, "a step ends once");
        row.settle(result.charge, result.price);
        row.step.status = result.status;
        row.step.observation = result.observation;
        row.step.thought = result.thought;
        row.step.error = result.error;
        row.step.latency = Some(result.latency);
    }

    fn begin(&mut self, intent: StepIntent) -> Begun {
        let same = self.rows.iter().filter(|row| row.step.seq == intent.seq);
        let tries = same.clone().count();
        let last = same.clone().next_back().cloned();
        if let Some(row) = last.as_ref().filter(|row| row.step.status.is_final()) {
            return Begun::Over(row.step.status);
        }
        let is_allowed = last.as_ref().is_some_and(|row| row.step.status == StepStatus::Approved);
        if let Some(row) = last.as_ref().filter(|row| row.step.status == StepStatus::Pending) {
            assert!(row.expects_decision);
            return Begun::Pending;
        }
        let waits = intent.decision_within.is_some() && !is_allowed;
        let mut lost = Vec::new();
        for row in self.rows.iter_mut().filter(|row| row.step.status == StepStatus::Started) {
            row.step.status = StepStatus::Lost;
            row.settle(Charge::Reserved, None);
            lost.push(row.lost());
        }
        let attempt = if is_allowed { tries } else { tries + 1 } as u32;
        if is_allowed {
            self.rows.retain(|row| row.step.seq != intent.seq);
        }
        self.rows.push(Row::of(intent, attempt, waits));
        match waits {
            true => Begun::Pending,
            false => Begun::Started { attempt, lost },
        }
    }
}

impl Row {
    fn of(intent: StepIntent, attempt: u32, waits: bool) -> Self {
        let now = now();
        let within = |length: Duration| now + length;
        let step = RecordedStep {
            seq: intent.seq,
            attempt,
            kind: intent.kind,
            name: intent.name.to_string(),
            status: if waits { StepStatus::Pending } else { StepStatus::Started },
            digest: intent.digest.to_vec(),
            arguments: intent.arguments,
            observation: None,
            thought: None,
            error: None,
            usage: None,
            charged: intent.reservation.as_ref().map(in_full).unwrap_or_default(),
            cost: None,
            latency: None,
            span: intent.span,
            started_at: now,
            expires_at: intent.decision_within.map(within),
        };
        Self { step, reservation: intent.reservation, expects_decision: waits }
    }

    fn settle(&mut self, charge: Charge, price: Option<Price>) {
        let Some(reservation) = &self.reservation else { return };
        let (input, output) = (reservation.input_tokens, reservation.output_tokens);
        self.step.cost = price.or(reservation.price).map(|price| match charge {
            Charge::Nothing => Default::default(),
            Charge::Counted(usage) => price.cost(&usage),
            Charge::Reserved => price.at_most(input, output),
        });
        self.step.charged = match charge {
            Charge::Nothing => Usage::default(),
            Charge::Counted(usage) => usage,
            Charge::Reserved => in_full(reservation),
        };
        if let Charge::Counted(usage) = charge {
            self.step.usage = Some(usage);
        }
    }

    fn lost(&self) -> LostStep {
        let context = sample_context();
        LostStep {
            header: (*context.run).clone(),
            key: context.key,
            node_kind: "llm".into(),
            seq: self.step.seq,
            attempt: self.step.attempt,
            kind: self.step.kind,
            name: self.step.name.as_str().into(),
            provider: self.reservation.as_ref().map(|it| Arc::clone(&it.provider)),
            charged: self.step.charged,
            cost: self.step.cost,
            span: self.step.span,
            parent: None,
            started_at: self.step.started_at,
            ended_at: self.step.started_at,
        }
    }
}

fn in_full(reservation: &Reservation) -> Usage {
    let (input_tokens, output_tokens) = (reservation.input_tokens, reservation.output_tokens);
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

/// The time at which everything is written down: that of [`sample_context`].
fn now() -> DateTime<Utc> {
    sample_context().now
}

#[async_trait]
impl Journal for FakeJournal {
    async fn recorded(&self) -> Result<Vec<RecordedStep>, JournalError> {
        let mut steps = self.steps();
        steps.sort_by_key(|step| (step.seq, step.attempt));
        Ok(steps)
    }

    async fn write(
        &self,
        finished: Option<StepResult>,
        begin: Option<StepIntent>,
        events: Vec<NewEvent>,
    ) -> Result<Begun, JournalError> {
        let mut state = self.state.lock().unwrap();
        if state.fenced_after.is_some_and(|writes| state.writes >= writes) {
            return Err(JournalError::Fenced);
        }
        state.writes += 1;
        state.events.extend(events);
        if let Some(result) = finished {
            state.record(result);
        }
        let Some(intent) = begin else { return Ok(Begun::Nothing) };
        match state.answers.pop_front().flatten() {
            Some(answer) => Ok(answer),
            None => Ok(state.begin(intent)),
        }
    }

    async fn room_for(&self, _: &StepIntent) -> Result<Begun, JournalError> {
        let mut state = self.state.lock().unwrap();
        Ok(state.rooms.pop_front().unwrap_or(Begun::Nothing))
    }

    async fn start_in(&self, request: RateRequest) -> Result<Option<Duration>, JournalError> {
        let mut state = self.state.lock().unwrap();
        state.asked_starts.push(request);
        Ok(state.starts.pop_front().unwrap_or(Some(Duration::ZERO)))
    }

    fn is_given_back(&self) -> bool {
        self.state.lock().unwrap().is_given_back
    }
}

/// A model that answers by a script.
#[derive(Default)]
pub(crate) struct ScriptedModel {
    script: Mutex<VecDeque<Line>>,
    requests: Mutex<Vec<(ChatRequest, String)>>,
    /// Notified when a call hangs.
    pub(crate) hangs: Notify,
}

/// What a scripted model does.
pub(crate) enum Line {
    /// It answers.
    Reply(ChatReply),
    /// It does not.
    Error(CallError),
    /// It says nothing, until the call is given up.
    Hang,
}

impl ScriptedModel {
    pub(crate) fn new(script: impl IntoIterator<Item = Line>) -> Arc<Self> {
        let script = Mutex::new(script.into_iter().collect());
        Arc::new(Self { script, ..Self::default() })
    }

    /// Goes on with these lines.
    pub(crate) fn go_on(&self, script: impl IntoIterator<Item = Line>) {
        self.script.lock().unwrap().extend(script);
    }

    /// What it was asked, with the idempotency keys.
    pub(crate) fn requests(&self) -> Vec<(ChatRequest, String)> {
        self.requests.lock().unwrap().clone()
    }

    /// How often it was asked.
    pub(crate) fn calls(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// A provider of that name whose models it plays.
    pub(crate) fn provider(self: &Arc<Self>, name: &str) -> Provider {
        Provider {
            name: name.into(),
            shown: name.into(),
            wire: WireFormat::OpenAi,
            model: Arc::clone(self) as Arc<dyn ChatModel>,
            semconv_name: name.into(),
            server_address: "models.example".into(),
            server_port: 443,
            requests_per_minute: None,
            tokens_per_minute: None,
        }
    }
}

#[async_trait]
impl ChatModel for ScriptedModel {
    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatReply, CallError> {
        self.requests.lock().unwrap().push((request.clone(), call.idempotency_key.to_owned()));
        let line = self.script.lock().unwrap().pop_front().expect("the script goes on");
        match line {
            Line::Reply(reply) => {
                if let Some(deltas) = call.deltas {
                    deltas(&reply.text);
                }
                Ok(reply)
            }
            Line::Error(error) => Err(error),
            Line::Hang => {
                self.hangs.notify_one();
                tokio::select! {
                    () = call.cancelled.cancelled() => Err(error("cancelled", ErrorClass::Cancelled)),
                    () = tokio::time::sleep(call.timeout) => Err(error("timeout", ErrorClass::Timeout)),
                }
            }
        }
    }

    fn request_bytes(&self, request: &ChatRequest) -> usize {
        let said = request.messages.iter().map(|message| match message {
            Message::User(text) => text.len(),
            Message::Assistant { .. } | Message::ToolResult { .. } => 0,
        });
        said.sum::<usize>().max(1_000)
    }
}

/// An answer that took 100 tokens of input and 20 of output.
pub(crate) fn reply(text: &str) -> ChatReply {
    ChatReply {
        text: text.to_owned(),
        tool_calls: Vec::new(),
        usage: Some(Usage { input_tokens: 100, output_tokens: 20, ..Default::default() }),
        finish_reason: "stop".to_owned(),
        model: None,
        response_id: None,
        time_to_first_token: None,
    }
}

/// An error of that class, which costs nothing if it is a refusal.
pub(crate) fn error(code: &'static str, class: ErrorClass) -> CallError {
    let billing = match class {
        ErrorClass::RateLimited | ErrorClass::Refused => Billing::Nothing,
        _ => Billing::Unknown,
    };
    CallError {
        code,
        message: format!("models.example: {code}"),
        details: None,
        status: None,
        retry_after: None,
        class,
        billing,
        usage: None,
    }
}

/// A store that is asked for no steps, and refuses them.
pub(crate) struct NoSteps;

#[async_trait]
impl StepStore for NoSteps {
    async fn recorded_steps(&self, _: &ActivationKey) -> Result<Vec<RecordedStep>, StoreError> {
        Err(StoreError::Corrupt("no steps".to_owned()))
    }

    async fn write_steps(
        &self,
        _: LeaseId,
        _: &[StepWrite],
    ) -> Result<Vec<StepAnswer>, StoreError> {
        Err(StoreError::Corrupt("no steps".to_owned()))
    }

    async fn room_for(&self, _: &ActivationKey, _: &StepIntent) -> Result<Begun, StoreError> {
        Err(StoreError::Corrupt("no steps".to_owned()))
    }

    async fn lose_steps(&self, _: Option<&str>) -> Result<LostSteps, StoreError> {
        Err(StoreError::Corrupt("no steps".to_owned()))
    }

    async fn grant_starts(&self, _: &[RateRequest]) -> Result<Vec<Option<Duration>>, StoreError> {
        Err(StoreError::Corrupt("no steps".to_owned()))
    }
}
