//! The program carries the files that there are.

use skein::signoz::documents::{self, Kind};
use skein_tests::signoz;

#[test]
fn the_program_carries_every_file_as_it_is() {
    let embedded = documents::embedded().unwrap();
    for kind in Kind::ALL {
        let carried = embedded.iter().filter(|it| it.kind == kind);
        let carried: Vec<_> = carried.map(|it| (it.file.clone(), it.body.clone())).collect();
        let files = signoz::documents(kind.folder()).into_iter().map(|it| (it.file, it.body));
        assert_eq!(carried, files.collect::<Vec<_>>(), "cli/src/signoz/embedded.rs lists {kind}s");
    }
    let read = documents::in_directory(&signoz::directory()).unwrap();
    assert_eq!(read, embedded);
}
