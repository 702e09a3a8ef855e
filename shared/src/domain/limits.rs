//! Everything has a limit. Each constant names its unit; the sentence says why it is that much.

use std::time::Duration;

/// A workflow document as sent, in bytes. Large enough for 500 generous nodes.
pub const DOCUMENT_BYTES_MAX: usize = 512 * 1024;
/// Bytes of a pointer to a part of a workflow document. Names there may be as long as the document, and every expression
/// below them carries one, in memory and in its diagnostics.
pub const POINTER_BYTES_MAX: usize = 1024;
/// How deep a document, an input or an output may nest, and each parameter. Recursion over it stays shallow on a 2 MiB
/// stack, and every reader of JSON takes it, with what stands around it.
pub const JSON_DEPTH_MAX: usize = 64;
/// Nodes in a workflow. The whole plan is held in memory by every worker that runs it.
pub const NODES_MAX: usize = 500;
/// Edges in a workflow. Four a node on average is far beyond drawn workflows.
pub const EDGES_MAX: usize = 2_000;
/// Characters of a workflow's name or a node's id. Both are span attributes and parts of keys.
pub const NAME_CHARS_MAX: usize = 64;
/// Characters of a description.
pub const DESCRIPTION_CHARS_MAX: usize = 4_000;
/// Bytes of one expression or template.
pub const EXPRESSION_BYTES_MAX: usize = 16 * 1024;
/// Instructions one string with expressions may execute, or 64 bytes each that it works through: some
/// milliseconds of computing.
pub const EXPRESSION_FUEL: u64 = 200_000;
/// The same for all strings of a tree together where others wait for the thread: less than a millisecond. What needs
/// more is computed elsewhere.
pub const EXPRESSION_FUEL_IN_PLACE: u64 = 10_000;
/// The longest that a condition of an edge or the output of a run may be computed, which have no timeout of their own.
pub const EXPRESSION_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes that one rendered parameter tree may take; the same as [`OUTPUT_BYTES_MAX`], which it often becomes.
pub const RENDERED_BYTES_MAX: usize = OUTPUT_BYTES_MAX;
/// A run's input, in bytes. It is read with every claim.
pub const INPUT_BYTES_MAX: usize = 256 * 1024;
/// How often the subschemas of an `input` schema may read one leaf of an input and what it lies in, every `$ref`
/// counted as often as it is followed. Large schemas written by people need a tenth; a validator that recurses this deep
/// fits on a 2 MiB stack.
pub const SCHEMA_COST_MAX: u64 = 1_000;
/// Values of an input times the cost of its schema, with its patterns and comparisons: a second of a core.
pub const INPUT_CHECK_STEPS_MAX: u64 = 20_000_000;
/// The same, up to which all diagnostics of an input are gathered. Each step may find one, of some hundred bytes.
pub const INPUT_DIAGNOSTIC_STEPS_MAX: u64 = 100_000;
/// Subschemas of an `input` schema. People write tens; taking them apart is quadratic where each shares others.
pub const SCHEMA_PARTS_MAX: usize = 2_000;
/// Bytes of a property's or a definition's name in an `input` schema. Every part below repeats it in its pointer.
pub const SCHEMA_NAME_BYTES_MAX: usize = 256;
/// Patterns in one `patternProperties`. Each of them may match each name in `properties`.
pub const PATTERN_PROPERTIES_MAX: usize = 32;
/// A pattern in an `input` schema as written, in bytes. Six of them may stand for five thousand when it is parsed.
pub const PATTERN_TEXT_BYTES_MAX: usize = 1024;
/// A pattern in an `input` schema, compiled, in bytes. Usual ones take up to 8 KiB, one for URLs or with `\p{L}` up to
/// 48 KiB. Matching takes up to its product with the text, so the larger ones are for smaller inputs.
pub const PATTERN_BYTES_MAX: usize = 64 * 1024;
/// All different patterns of an `input` schema, compiled, in bytes: some hundred milliseconds of compiling.
pub const SCHEMA_PATTERNS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A node's output, in bytes. Outputs are held in memory by whoever runs a successor.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Inputs and outputs of nodes that are shown with their run, in bytes. A run may have a hundred times as much; what
/// is left out can be read node by node.
pub const RUN_VALUES_BYTES_MAX: usize = 4 * OUTPUT_BYTES_MAX;
/// Earlier attempts of nodes that are shown with their run: some 1.5 MiB of errors. A run may have fifty times as many;
/// what is left out can be read node by node.
pub const RUN_ATTEMPTS_MAX: usize = 1_000;
/// An error message, in bytes: a span attribute and a log row.
pub const ERROR_BYTES_MAX: usize = 1024;
/// Characters of an error's code that a workflow makes: a span attribute, and what failures are grouped by.
pub const ERROR_CODE_CHARS_MAX: usize = NAME_CHARS_MAX;
/// A log message written by a `log` node, in bytes.
pub const LOG_MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// Attempts of a node, the first included.
pub const ATTEMPTS_MAX: u32 = 100;
/// Crashes in a row, without a commit of its own in between, that a node may be in before it is suspected of having
/// caused them. A machine is lost now and then; the same node was on two of them by chance or by its own doing.
pub const CRASHES_UNSUSPECTED_MAX: u32 = 1;
/// Crashes in a row that a node may be in beside others. After so many it runs apart, so that the next one shows
/// whether it was its doing.
pub const CRASHES_IN_COMPANY_MAX: u32 = 3;
/// Crashes of workers that ran nothing but this node, while it was suspected. After so many it counts as poison: one may
/// be a lost machine, three are not.
pub const CRASH_STRIKES_MAX: u32 = 3;
/// Characters of an organization's, a workspace's or a user's name. They stand on every row and span and in every
/// message.
pub const IDENTITY_CHARS_MAX: usize = 255;
/// Characters of a host's name, as workers give it. It stands on every row that one of them has claimed.
pub const HOST_CHARS_MAX: usize = 255;
/// A node's timeout when the document names none.
pub const NODE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// The timeout of a node that asks a model, when the document names none. Long answers of slow models take minutes, and
/// what a provider asks to wait for counts.
pub const MODEL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// The longest timeout of a node. Longer waits belong into `delay`, which holds no worker.
pub const NODE_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// The longest back-off between attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(24 * 3600);
/// The longest delay.
pub const DELAY_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Pure nodes that may be inlined into the commit of their predecessor.
pub const INLINED_NODES_MAX: usize = 32;
/// Time that computing inlined nodes may take before the commit goes out without the rest.
pub const INLINED_TIME_MAX: Duration = Duration::from_millis(5);
/// Nodes in a row that a worker runs inline before it goes back to the queue, so that a long chain
/// does not bypass everybody else.
pub const RETAINED_NODES_MAX: u32 = 32;
/// Characters of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// Characters of a key's name. It stands in listings, for people.
pub const KEY_NAME_CHARS_MAX: usize = NAME_CHARS_MAX;
/// Keys of one organization that are good at a time. A person has a few and a machine one; whoever has more makes them
/// in a loop.
pub const KEYS_PER_ORGANIZATION_MAX: u32 = 1_000;
/// Keys of one organization that are over and still listed, the ones that ended last. Those before make way when a key
/// is made, so that a key a minute does not fill the store.
pub const KEYS_OVER_LISTED_MAX: u32 = 1_000;
/// The longest that a key may be good, if it is to end at all: ten years.
pub const KEY_LIFE_MAX: Duration = Duration::from_secs(3_653 * 24 * 3600);
/// How often it is noted that a key is in use. Anything finer would write as often as the key is used.
pub const KEY_USE_INTERVAL: Duration = Duration::from_secs(60);
/// Rows of a page when the request names no number, and at most.
pub const PAGE_DEFAULT: u32 = 50;
/// Rows of a page at most.
pub const PAGE_MAX: u32 = 500;
