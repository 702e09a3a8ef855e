//! Parameters of the query, read strictly: a parameter that is not known, is there twice or cannot
//! be read is a diagnostic, and all of them are reported at once.
//!
//! A [`query!`] declares them: the same line documents a parameter in the OpenAPI document and says how it is read.

use axum::extract::{FromRequestParts, Query as Pairs};
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use skein_shared::domain::limits::{PAGE_DEFAULT, PAGE_MAX};
use skein_shared::store::PageRequest;

use crate::cursor::{CURSOR_CHARS_MAX, Listing};
use crate::path_parameters::{may_be_workflow, shown};
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};

/// How the text of a parameter is read.
pub(crate) struct Reading<T> {
    /// What would be right.
    pub(crate) hint: fn() -> String,
    /// The value, unless the text is none.
    pub(crate) read: fn(&str) -> Option<T>,
}

/// `true` or `false`.
pub(crate) const FLAG: Reading<bool> =
    Reading { hint: || "`true` or `false`".to_owned(), read: |text| text.parse().ok() };

/// A point in time.
pub(crate) const TIME: Reading<DateTime<Utc>> = Reading {
    // A plus sign in a query is a space.
    hint: || {
        "an RFC 3339 time, for instance 2026-01-31T12:00:00Z (a `+` must be sent as %2B)".to_owned()
    },
    read: |text| DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc)),
};

/// A workflow, by its name.
pub(crate) const WORKFLOW: Reading<String> = Reading {
    hint: || "the name of a workflow".to_owned(),
    read: |name| may_be_workflow(name).then(|| name.to_owned()),
};

/// A version of a workflow, by its number.
pub(crate) const VERSION: Reading<u32> = Reading {
    hint: || "a number from 1".to_owned(),
    read: |text| text.parse().ok().filter(|version| *version > 0),
};

/// How many rows a page has at most.
pub(crate) const LIMIT: Reading<u32> = Reading {
    hint: || format!("a number from 1 to {PAGE_MAX}"),
    read: |text| text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit)),
};

/// Where a page begins, sealed: [`Parameters::page`] opens it, once it is known what is listed.
pub(crate) const CURSOR: Reading<String> = Reading {
    hint: || {
        "the `next_cursor` of a page of this listing with the same filters, unchanged".to_owned()
    },
    read: |text| (1..=CURSOR_CHARS_MAX).contains(&text.chars().count()).then(|| text.to_owned()),
};

/// The parameters of a route; see [`query!`].
pub(crate) trait Query: Sized {
    /// Takes them, each of which may be absent. What is wrong with one, [`Parameters::finish`] says.
    fn take(parameters: &mut Parameters) -> Self;
}

/// Declares the query of a route: a struct whose fields are the parameters. A field's comment and its `param` document
/// the parameter, and what stands behind `=` is the [`Reading`] that yields its value, `None` if it is absent.
macro_rules! query {
    (
        $(#[$of_query:meta])*
        pub(crate) struct $query:ident {
            $(
                $(#[$of_field:meta])*
                $field:ident: $type:ident $(<$argument:ident>)? = $reading:expr,
            )*
        }
    ) => {
        $(#[$of_query])*
        #[derive(utoipa::IntoParams)]
        #[into_params(parameter_in = Query)]
        pub(crate) struct $query {
            $($(#[$of_field])* $field: Option<$type $(<$argument>)?>,)*
        }

        impl $crate::parameters::Query for $query {
            fn take(parameters: &mut $crate::parameters::Parameters) -> Self {
                Self { $($field: parameters.take(stringify!($field), &$reading),)* }
            }
        }
    };
}
pub(crate) use query;

/// The parameters of a query that have not been asked for yet.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    diagnostics: Vec<ProblemDiagnostic>,
    /// What is of the right form and breaks a rule.
    broken_rules: Vec<ProblemDiagnostic>,
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Pairs(pairs) = Pairs::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new(ProblemKind::InvalidParameter, "the query cannot be read"))?;
        // Bytes that are no text have become U+FFFD by now, which would look for what nobody has asked for.
        if let Some(name) = parts.uri.query().and_then(not_utf8) {
            let hint = "UTF-8, percent-encoded";
            return Err(Problem::parameter(&shown(&name), "is not UTF-8", hint));
        }
        let (diagnostics, broken_rules) = (Vec::new(), Vec::new());
        Ok(Self { pairs, known: Vec::new(), diagnostics, broken_rules })
    }
}

impl Parameters {
    /// All parameters of a route, if nothing is wrong with them.
    pub(crate) fn read<Q: Query>(mut self) -> Result<Q, Problem> {
        let query = Q::take(&mut self);
        self.finish()?;
        Ok(query)
    }

    /// The value of a parameter, if it is there and can be read.
    pub(crate) fn take<T>(&mut self, name: &'static str, reading: &Reading<T>) -> Option<T> {
        self.known.push(name);
        let mut values = self.pairs.extract_if(.., |(key, _)| key == name);
        let (_, value) = values.next()?;
        let twice = values.count() > 0;
        let read = if twice { None } else { (reading.read)(&value) };
        if read.is_none() {
            let message = if twice { "is there twice" } else { "cannot be read" };
            self.refuse(name, message, &(reading.hint)());
        }
        read
    }

    /// Which part of a listing is asked for: `limit` rows behind the cursor, which is called `after` where a log is
    /// followed.
    pub(crate) fn page(
        &mut self,
        listing: Listing<'_>,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> PageRequest {
        let opened = cursor.and_then(|cursor| listing.open(cursor));
        if cursor.is_some() && opened.is_none() {
            let name = if matches!(listing, Listing::Logs(..)) { "after" } else { "cursor" };
            let (message, hint) = ("is of no such page".to_owned(), (CURSOR.hint)());
            self.broken_rules.push(ProblemDiagnostic::parameter(name, message, &hint));
        }
        PageRequest { limit: limit.unwrap_or(PAGE_DEFAULT), cursor: opened }
    }

    fn refuse(&mut self, name: &str, message: &str, hint: &str) {
        self.diagnostics.push(ProblemDiagnostic::parameter(name, message.to_owned(), hint));
    }

    /// Says what was wrong, if anything was; what nobody asked for is.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Self { pairs, known, mut diagnostics, broken_rules } = self;
        let hint = if known.is_empty() {
            "the route takes no parameters".to_owned()
        } else {
            format!("known parameters: {}", known.join(", "))
        };
        for (name, _) in pairs {
            diagnostics.push(ProblemDiagnostic::parameter(
                &shown(&name),
                "is not known".to_owned(),
                &hint,
            ));
        }
        let kind = match (diagnostics.is_empty(), broken_rules.is_empty()) {
            (true, true) => return Ok(()),
            (true, false) => ProblemKind::InvalidRequest,
            (false, _) => ProblemKind::InvalidParameter,
        };
        diagnostics.extend(broken_rules);
        Err(Problem::with_diagnostics(kind, diagnostics))
    }
}

/// The name of the first parameter whose name or value is no text.
fn not_utf8(query: &str) -> Option<String> {
    let is_utf8 = |part: &str| percent_decode_str(part).decode_utf8().is_ok();
    let pair = query.split('&').find(|pair| !is_utf8(pair))?;
    let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
    Some(percent_decode_str(name).decode_utf8_lossy().into_owned())
}
