//! What the command line shows of a run.

/// The text that `skein run` prints.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl<'a> Shown<'a> {
    /// The lines below a heading, up to the next empty one.
    fn below(&self, heading: &str) -> Vec<&'a str> {
        let mut lines = self.0.lines().skip_while(|line| *line != heading).skip(1);
        let found: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert!(!found.is_empty(), "nothing below {heading:?}: {}", self.0);
        found
    }

    /// What follows a word at the start of a line.
    fn after(&self, word: &str) -> &'a str {
        let line = self.0.lines().find_map(|line| line.trim_start().strip_prefix(word));
        line.unwrap_or_else(|| panic!("no {word:?}: {}", self.0)).trim()
    }

    /// The run's id.
    pub(crate) fn run(&self) -> &'a str {
        self.after("run  ")
    }

    /// The whole picture of a run of a workflow with these nodes: each node, its log below the trace's id, its trace, from
    /// the root down to each node that was executed, and last its end.
    pub(crate) fn assert_whole(&self, workflow: &str, nodes: &[String]) {
        let shown = self.0;
        let ended = format!("✓ {workflow} v1 succeeded");
        let (before, after) = shown.split_once(&ended).unwrap_or_else(|| panic!("{shown}"));
        for (part, titles) in
            [(before, &["\nNodes\n", "\nLog\n", "\nTrace\n"][..]), (after, &["\nOutput\n"][..])]
        {
            // What is talk beside the result may come before or after it.
            let part = format!("\n{part}");
            for title in titles {
                assert!(part.contains(title), "{title:?} is not where it is to be: {shown}");
            }
        }
        let trace = self.after("trace  ");
        assert!(trace.len() == 32 && trace.chars().all(|it| it.is_ascii_hexdigit()), "{shown}");

        let mut table = self.below("Nodes");
        let legend = table.pop().expect("a legend");
        assert!(legend.starts_with("TOOK: "), "{shown}");
        assert!(table[0].starts_with("NODE ") && table[0].contains("STATUS"), "{shown}");
        let rows: Vec<Vec<_>> =
            table[1..].iter().map(|row| row.split_whitespace().collect()).collect();
        assert_eq!(rows.len(), nodes.len(), "{shown}");
        let log = self.below("Log");
        let waterfall = self.below("Trace");
        assert!(waterfall[0].starts_with("publish "), "{shown}");
        assert!(waterfall[1].starts_with("└ workflow.execute "), "{shown}");
        for node in nodes {
            let row = rows.iter().find(|row| row[0] == node);
            let [_, kind, state, ..] = row.map(Vec::as_slice).unwrap_or_default() else {
                panic!("{node} is not in the table: {shown}");
            };
            let span = format!(" {kind} {node} ");
            let is_drawn = waterfall.iter().any(|line| line.contains(&span));
            assert_eq!(is_drawn, *state != "skipped", "{node} in the waterfall: {shown}");
        }
        // The first line is what the rows have in common.
        assert!(log[0].ends_with(&format!(" UTC  trace {trace}")), "{shown}");
        assert!(!log[1..].iter().any(|row| row.contains(trace)), "{shown}");
        for event in ["run.accepted", "run.started", "run.succeeded"] {
            assert!(log.iter().any(|row| row.contains(event)), "no {event}: {shown}");
        }
    }
}
