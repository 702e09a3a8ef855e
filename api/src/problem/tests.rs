use super::*;

fn body(problem: Problem) -> serde_json::Value {
    let trace = TraceId([7; 16]);
    let response = Problem::render(problem.into_response(), trace);
    let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(
        response.into_body(),
        usize::MAX,
    ));
    serde_json::from_slice(&body.unwrap().unwrap()).unwrap()
}

#[test]
fn kinds_have_names_of_their_own_and_statuses_of_errors() {
    let mut urns: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.urn()).collect();
    urns.sort_unstable();
    urns.dedup();
    assert_eq!(urns.len(), ProblemKind::ALL.len());
    for kind in ProblemKind::ALL {
        assert!(kind.status().is_client_error() || kind.status().is_server_error());
    }
}

#[test]
fn one_diagnostic_is_the_detail_and_many_are_counted() {
    let diagnostic = |n: usize| {
        ProblemDiagnostic::from(Diagnostic::new(format!("/{n}"), "is wrong", "do right"))
    };
    let one = body(Problem::with_diagnostics(ProblemKind::InvalidInput, vec![diagnostic(0)]));
    assert_eq!(one["detail"], "/0: is wrong");
    assert_eq!(one["errors"][0]["pointer"], "/0");
    assert_eq!(one["errors"][0]["hint"], "do right");
    assert_eq!(one["status"], 422);
    assert_eq!(one["trace_id"], "07070707070707070707070707070707");
    let many = body(Problem::with_diagnostics(
        ProblemKind::InvalidInput,
        (0..DIAGNOSTICS_MAX + 5).map(diagnostic).collect(),
    ));
    assert_eq!(many["errors"].as_array().unwrap().len(), DIAGNOSTICS_MAX);
    assert_eq!(many["detail"], "there are 105 faults; the first 100 are listed");
}

#[test]
fn a_problem_stays_small_however_long_the_names_are_that_it_repeats() {
    let long = "ü".repeat(100_000);
    let diagnostic =
        || ProblemDiagnostic::from(Diagnostic::new(long.clone(), long.clone(), long.clone()));
    for diagnostics in [1, 100] {
        let problem =
            Problem::with_diagnostics(ProblemKind::InvalidInput, vec![diagnostic(); diagnostics]);
        let text = body(problem).to_string();
        assert!(
            text.len() < 2 * DIAGNOSTICS_BYTES_MAX,
            "{} bytes of {diagnostics} faults",
            text.len()
        );
        assert!(text.contains("üü…"));
    }
    let many = body(Problem::with_diagnostics(ProblemKind::InvalidInput, vec![diagnostic(); 100]));
    let listed = many["errors"].as_array().unwrap().len();
    let detail = format!("there are 100 faults; the first {listed} are listed");
    assert_eq!((many["detail"].as_str(), listed > 0), (Some(&*detail), true));
    assert!(body(Problem::new(ProblemKind::NoRun, long)).to_string().len() < 8 * 1024 + 256);
}

#[test]
fn the_cause_of_an_internal_problem_is_not_shown() {
    let text = body(Problem::internal("password=s3cret")).to_string();
    assert!(!text.contains("s3cret"), "{text}");
    let corrupt = body(StoreError::Corrupt("relation \"runs\"".into()).into()).to_string();
    assert!(!corrupt.contains("runs"), "{corrupt}");
}
